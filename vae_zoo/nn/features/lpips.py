"""The features of LPIPS."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn

from vae_zoo.nn.features.images import home
from vae_zoo.nn.features.vgg import VGG
from vae_zoo.system.tensors import read_tensors

_CHANNELS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = (2, 2, 3, 3, 3)


class LPIPSFeatures(VGG):
    r"""Features of VGG16 whose mean squared difference is LPIPS, the learned perceptual distance of two images.

    .. math:: d(x, \hat x) = \sum_l \frac{1}{H_l W_l} \sum_{h, w} \sum_c w_{lc} (f_{lc h w}(x) - f_{lc h w}(\hat x))^2

    Here f are the outputs of relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3, divided at each place by their length over
    channels, and :math:`w_{lc} \ge 0` are weights that were fitted to human judgements. A forward pass gives
    :math:`\sqrt{C_l w_{lc}} \, f_{lchw}`, of which a :class:`.Perceptual` energy, and the perceptual term of
    ``AutoencoderKL`` and ``VQGAN``, makes d itself.

    The weights of VGG16 are those of torchvision, read from its cache: nothing is downloaded implicitly,
    :meth:`download` fetches the file once. The weights w come with the package ``lpips`` (extra ``perceptual``), of
    which only that file is read, or from a file of the same content. All files are read as tensors alone.

    References:
        | The Unreasonable Effectiveness of Deep Features as a Perceptual Metric (Zhang et al., 2018)
        | https://arxiv.org/abs/1801.03924

    Args:
        weights: File of the weights w, ``vgg.pth`` of version 0.1 of LPIPS; None for that of the package ``lpips``.
        min_side: Pixels of the smaller side to which images are enlarged, at least 16: every layer has an output then.

    Raises:
        ValueError: If min_side is less than 16, or a file has other content.
        FileNotFoundError: If the weights of VGG16 have not been downloaded, or there is no file of weights w.
        ImportError: If weights is None and the package is not installed.

    Example:
        >>> features = LPIPSFeatures()  # doctest: +SKIP
        >>> features.distance(torch.rand(5, 3, 64, 64), torch.rand(5, 3, 64, 64)).shape  # doctest: +SKIP
        torch.Size([5])
    """

    calibrated = True
    depth = 16

    def __init__(self, *, weights: str | None = None, min_side: int = 64) -> None:
        super().__init__(min_side=min_side, least=16)
        linear = _linear(weights)
        self.network = self.convolutions(_CHANNELS, _CONVOLUTIONS)
        pools = [number for number, layer in enumerate(self.network) if isinstance(layer, nn.MaxPool2d)]
        self.ends = (*(number - 1 for number in pools), len(self.network) - 1)
        found = read_tensors(linear, "LPIPS")
        for number, channels in enumerate(_CHANNELS):
            name = f"lin{number}.model.1.weight"
            if name not in found or found[name].shape != (1, channels, 1, 1):
                raise ValueError(
                    f"{linear} holds no weights of LPIPS for VGG16: {name} is not there or has another shape."
                )
            if not (found[name] >= 0).all():
                raise ValueError(f"{linear} holds no weights of LPIPS: {name} has negative ones.")
            scale = (channels * found[name][0]).sqrt().to(home(), torch.get_default_dtype())
            self.register_buffer(f"scale{number}", scale)

    def layers(self, x: Tensor) -> list[Tensor]:
        found: list[Tensor] = []
        for number, layer in enumerate(self.network):
            x = layer(x)
            if number in self.ends:
                scale = getattr(self, f"scale{len(found)}")
                found.append(scale * x / (x.norm(dim=1, keepdim=True) + 1e-10))
        return found

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """LPIPS of pairs of images (N, C, H, W) in [0, 1], (N,)."""
        pairs = zip(self(x), self(y), strict=True)
        return torch.stack([(a - b).square().flatten(1).mean(1) for a, b in pairs]).sum(0)


def _linear(weights: str | None) -> Path:
    """The file of weights that were fitted to judgements."""
    if weights is not None:
        path = Path(weights).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {weights}: LPIPSFeatures needs vgg.pth of version 0.1 of LPIPS.")
        return path
    spec = find_spec("lpips")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(
            "LPIPSFeatures needs lpips: pip install 'vae_zoo[perceptual]', or set weights to its vgg.pth."
        )
    return Path(spec.submodule_search_locations[0]) / "weights" / "v0.1" / "vgg.pth"
