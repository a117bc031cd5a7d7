"""The features of LPIPS."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_zoo.nn.features.images import ImageFeatures, cached, downloaded, home, load
from vae_zoo.system.tensors import read_tensors

_CHANNELS = (64, 128, 256, 512, 512)
_CONVOLUTIONS = (2, 2, 3, 3, 3)


class LPIPSFeatures(ImageFeatures):
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

    def __init__(self, *, weights: str | None = None, min_side: int = 64) -> None:
        if min_side < 16:
            raise ValueError(f"min_side must be at least 16, got {min_side}.")
        super().__init__(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), min_side=min_side)
        linear, path = _linear(weights), self.weights_file()
        if not path.is_file():
            raise FileNotFoundError(
                f"VGG16's weights are not at {path}: run vae_zoo.nn.LPIPSFeatures.download() once, "
                "or choose EfficientNetFeatures."
            )
        with torch.device("meta"):
            self.network, self.ends = _vgg16()
        state = {name.removeprefix("features."): value for name, value in read_tensors(path, "VGG16").items()}
        load(self.network, state, path)
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

    @staticmethod
    def weights_file() -> Path:
        """Path of VGG16's downloaded weights, in torch's cache."""
        return cached(_weights().url)

    @classmethod
    def download(cls) -> Path:
        """Download VGG16's weights, 528 MB, unless they exist, and verify their hash.

        Returns:
            The file.
        """
        return downloaded(_weights().url)

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


def _vgg16() -> tuple[nn.Sequential, tuple[int, ...]]:
    """Convolutions of VGG16, numbered as in torchvision, and the last activation of each size."""
    layers: list[nn.Module] = []
    ends, before = [], 3
    for channels, num in zip(_CHANNELS, _CONVOLUTIONS, strict=True):
        if layers:
            layers.append(nn.MaxPool2d(2))
        for _ in range(num):
            layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU()]
            before = channels
        ends.append(len(layers) - 1)
    return nn.Sequential(*layers), tuple(ends)


def _weights() -> Any:
    from torchvision.models import VGG16_Weights

    return VGG16_Weights.IMAGENET1K_V1
