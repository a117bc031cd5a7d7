"""Encoders whose first part is a network that classifies photographs."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, silu

from vae_zoo.nn.features.efficientnet import packaged, unweighted
from vae_zoo.nn.features.images import downloaded, home, load
from vae_zoo.nn.pictures.residual import num_groups
from vae_zoo.system.tensors import is_restoring, read_tensors
from vae_zoo.typing import Shape

LITE, DEFAULT = "efficientnet_lite0", "DEFAULT"
_FAMILIES = ("resnet", "resnext", "wide_resnet", "efficientnet", "mobilenet", "convnext", "densenet", "vgg")
_MOST = 4
"""Places a side of the features that a dense layer reads."""


class BackboneEncoder(nn.Module):
    r"""The first stages of a network that was trained to classify photographs, and a head for the posterior.

    Grey images are repeated to three channels, small ones enlarged, and all normalised as the classifier was trained
    on. The features of stage s have 1/2ˢ of the image's sides. Their groups of channels are normalised, then averaged
    over the places of a grid of latents, or over 4 × 4 places in front of a dense layer for vectors.

    With given weights, the statistics of batch normalisation remain those of the file, also where weights are trained
    further: no example depends on the others of its batch. All weights are part of the model and of its checkpoints,
    so a checkpoint needs neither the file nor the download again.

    References:
        | How Transferable Are Features in Deep Neural Networks? (Yosinski et al., 2014)
        | https://arxiv.org/abs/1411.1792

    Args:
        in_shape: Shape of one image in [0, 1], (1, H, W) or (3, H, W).
        out_shape: Shape of one output: a vector (\*params, D), or a grid (\*params, D, h, w) of any size.
        architecture: A classifier of torchvision by its name, such as ``resnet18``, ``resnet50``,
            ``efficientnet_b0``, ``mobilenet_v3_small`` or ``convnext_tiny``; or ``efficientnet_lite0``.
        weights: File of its weights, of ``torch.save`` or ``.safetensors``, read as tensors alone; ``DEFAULT`` for
            those of torchvision, which are downloaded once, or for those that come with the package of
            EfficientNet-Lite0 (extra ``perceptual``), without a download; None for random ones.
        frozen: Whether the classifier's weights stay as they are, and only the head is trained.
        stage: Number of halvings after which features are taken, from 1 to 5, to 4 for ``efficientnet_lite0``.
        min_side: Pixels of the smaller side to which images are enlarged.

    Raises:
        ValueError: If examples are no such images, there is no such architecture or stage, random weights are to be
            frozen, or the file has other content.
        FileNotFoundError: If there is no such file.
        OSError: If weights cannot be downloaded.
        ImportError: If the package of weights is not installed.

    Example:
        >>> BackboneEncoder((1, 28, 28), (2, 16), architecture="resnet18", stage=3)(torch.rand(5, 1, 28, 28)).shape
        torch.Size([5, 2, 16])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        architecture: str = "resnet18",
        weights: str | None = None,
        frozen: bool = False,
        stage: int = 4,
        min_side: int = 64,
    ) -> None:
        super().__init__()
        if len(in_shape) != 3 or in_shape[0] not in (1, 3):
            raise ValueError(
                f"BackboneEncoder needs images with 1 or 3 channels, got examples of shape {tuple(in_shape)}."
            )
        if min_side < 1:
            raise ValueError(f"min_side must be at least 1, got {min_side}.")
        if frozen and weights is None:
            raise ValueError("frozen keeps random weights for good: set weights, or frozen to false.")
        self.out_shape, self.min_side = tuple(out_shape), min_side
        self.frozen, self.still = frozen, weights is not None
        lite = architecture == LITE
        self.trunk = _lite(stage, weights) if lite else _torchvision(architecture, stage, weights)
        mean, std = ((127 / 255,), (128 / 255,)) if lite else ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values, device=home()).reshape(-1, 1, 1), persistent=False)
        if frozen:
            self.trunk.requires_grad_(False)
        _, channels, *sides = _shape(self.trunk, _enlarged(in_shape[1:], min_side))
        self.norm = nn.GroupNorm(num_groups(channels), channels)
        if len(out_shape) > len(in_shape) - 1:
            self.sides = (out_shape[-2], out_shape[-1])
            self.head: nn.Module = nn.Conv2d(channels, math.prod(out_shape[:-2]), 1)
        else:
            self.sides = (min(sides[0], _MOST), min(sides[1], _MOST))
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(channels * math.prod(self.sides), math.prod(out_shape)))
        self.train()

    def train(self, mode: bool = True) -> BackboneEncoder:
        super().train(mode)
        if self.frozen:
            self.trunk.eval()
        elif self.still:
            for layer in self.trunk.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, \\*in_shape) to (B, \\*out_shape)."""
        size, x = _enlarged(x.shape[-2:], self.min_side), x.expand(-1, 3, -1, -1)
        if size != tuple(x.shape[-2:]):
            x = interpolate(x, size=list(size), mode="bilinear", align_corners=False)
        x = self.norm(_last(self.trunk((x - self.mean) / self.std)))
        return self.head(adaptive_avg_pool2d(silu(x), self.sides)).reshape(len(x), *self.out_shape)


def _enlarged(sides: Sequence[int], min_side: int) -> tuple[int, ...]:
    """Sides of an image, enlarged so that the smaller one has at least min_side pixels."""
    side = min(sides)
    return tuple(sides) if side >= min_side else tuple(-(-s * min_side // side) for s in sides)


def _last(features: Tensor | list[Tensor]) -> Tensor:
    return features if isinstance(features, Tensor) else features[-1]


@torch.no_grad()
def _shape(trunk: nn.Module, sides: Sequence[int]) -> torch.Size:
    """Shape of the features of one image with such sides."""
    twin = copy.deepcopy(trunk).to("meta").eval()
    return _last(twin(torch.zeros(1, 3, *sides, device="meta"))).shape


def _lite(stage: int, weights: str | None) -> nn.Module:
    """The first stages of EfficientNet-Lite0."""
    if not 1 <= stage <= 4:
        raise ValueError(f"{LITE} has features of stages 1, 2, 3 and 4, got stage {stage}.")
    if weights is None:
        return unweighted(stage)
    with torch.device("meta"):
        trunk = unweighted(stage)
    if is_restoring():
        return _zeros(trunk)
    if weights == DEFAULT:
        return packaged(stage, LITE)
    path = _file(weights)
    load(trunk, read_tensors(path, LITE), path)
    return trunk


def _torchvision(architecture: str, stage: int, weights: str | None) -> nn.Module:
    """Those parts of a classifier that lead to the features of a stage, in their order."""
    from torchvision import models

    if architecture not in models.list_models(module=models) or not architecture.startswith(_FAMILIES):
        raise ValueError(
            f"there is no architecture {architecture!r}: choose {LITE}, or a classifier of torchvision such as "
            "resnet18, resnet50, efficientnet_b0, mobilenet_v3_small or convnext_tiny."
        )
    with nullcontext() if weights is None else torch.device("meta"):
        parts = list(_parts(models.get_model(architecture, weights=None)))
    ends = _ends(nn.Sequential(*(part for _, part in parts)))
    if stage not in ends:
        known = ", ".join(map(str, sorted(ends)))
        raise ValueError(f"{architecture} has features of stages {known}, got stage {stage}.")
    parts = parts[: ends[stage] + 1]
    trunk = nn.Sequential(*(part for _, part in parts))
    if weights is None:
        return trunk
    if is_restoring():
        return _zeros(trunk)
    default = weights == DEFAULT
    path = downloaded(models.get_model_weights(architecture).DEFAULT.url) if default else _file(weights)
    state = read_tensors(path, architecture)
    renamed: dict[str, Tensor] = {}
    for number, (name, _) in enumerate(parts):
        inner = {key.removeprefix(f"{name}."): x for key, x in state.items() if key.startswith(f"{name}.")}
        renamed |= {f"{number}.{key}": x for key, x in inner.items()}
    load(trunk, renamed, path)
    return trunk


def _zeros(trunk: nn.Module) -> nn.Module:
    """A network on the meta device with memory for its weights."""
    trunk.to_empty(device=home())
    for value in trunk.state_dict().values():
        value.zero_()
    return trunk


def _file(weights: str) -> Path:
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no file of weights {weights}: give its path, or {DEFAULT}.")
    return path


def _parts(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Parts of a classifier before its features are averaged, with their names in files of weights."""
    for name, part in network.named_children():
        if name == "features":
            yield from ((f"{name}.{inner}", layer) for inner, layer in part.named_children())
        elif name in ("avgpool", "classifier", "fc"):
            return
        else:
            yield name, part


@torch.no_grad()
def _ends(trunk: nn.Sequential) -> dict[int, int]:
    """The last part with features after each number of halvings."""
    side, found = 256, {}
    x = torch.zeros(1, 3, side, side, device="meta")
    for number, part in enumerate(copy.deepcopy(trunk).to("meta").eval()):
        x = part(x)
        found[round(math.log2(side / x.shape[-1]))] = number
    return {stage: number for stage, number in found.items() if stage > 0}
