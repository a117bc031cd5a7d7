"""Networks of deep hierarchies: maps of channels over the sides of an example, or vectors, at several resolutions."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vae_zoo.nn.conv import CONVOLUTIONS, initialize
from vae_zoo.nn.halving import Size, geometry, halved
from vae_zoo.typing import Shape

_POOLS: dict[int, Any] = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


class Bottleneck(nn.Module):
    """Four convolutions through a few channels: 1x1, 3x3, 3x3 and 1x1, each after an activation; dense for vectors.

    The kernels of the middle ones are 1x1 where no side is longer than 2.

    References:
        | Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images (Child, 2021)
        | https://arxiv.org/abs/2011.10650

    Args:
        in_shape: Shape of one input, (C, \\*sides), or (C,) for vectors.
        out_shape: Shape of one output, with the same sides.
        middle: Channels between the outer convolutions.

    Raises:
        ValueError: If the sides differ, or middle is less than 1.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, *, middle: int = 16) -> None:
        super().__init__()
        sides = check_maps(in_shape, out_shape)
        if middle < 1:
            raise ValueError(f"middle must be at least 1, got {middle}.")
        kernel = 3 if max(sides, default=1) > 2 else 1
        widths, kernels = (in_shape[0], middle, middle, middle, out_shape[0]), (1, kernel, kernel, 1)
        layers: list[nn.Module] = []
        for (c_in, c_out), size in zip(pairwise(widths), kernels, strict=True):
            layers += [nn.GELU(), convolution(c_in, c_out, len(sides), size)]
        self.layers = nn.Sequential(*layers)
        initialize(self)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(h)


class Depthwise(nn.Module):
    """A depthwise convolution between two 1x1 ones that widen and narrow, then squeeze and excitation.

    Unlike in the paper, channels are normalised together for each example and not over the batch: the bound of an
    example must not depend on the others.

    References:
        | NVAE: A Deep Hierarchical Variational Autoencoder (Vahdat and Kautz, 2020)
        | https://arxiv.org/abs/2007.03898

    Args:
        in_shape: Shape of one input, (C, \\*sides), or (C,) for vectors.
        out_shape: Shape of one output, with the same sides.
        expansion: Factor on the channels between the 1x1 convolutions.
        kernel: Side of the depthwise kernel, an odd number.

    Raises:
        ValueError: If the sides differ, expansion is less than 1, or kernel is not odd.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, *, expansion: int = 3, kernel: int = 5) -> None:
        super().__init__()
        sides = check_maps(in_shape, out_shape)
        if expansion < 1 or kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"expansion must be at least 1 and kernel odd, got {expansion} and {kernel}.")
        num, (c_in, c_out) = len(sides), (in_shape[0], out_shape[0])
        wide, size = expansion * c_in, kernel if max(sides, default=1) > 1 else 1
        self.layers = nn.Sequential(
            nn.GroupNorm(1, c_in),
            convolution(c_in, wide, num),
            nn.GroupNorm(1, wide),
            nn.SiLU(),
            convolution(wide, wide, num, size, groups=wide) if num else nn.Identity(),
            nn.GroupNorm(1, wide) if num else nn.Identity(),
            nn.SiLU() if num else nn.Identity(),
            convolution(wide, c_out, num),
        )
        self.squeeze = nn.Sequential(nn.Linear(c_out, max(4, c_out // 16)), nn.ReLU())
        self.excite = nn.Linear(max(4, c_out // 16), c_out)
        initialize(self)

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        h = self.layers(h)
        gate = torch.sigmoid(self.excite(self.squeeze(h.flatten(2).mean(2) if h.ndim > 2 else h)))
        return h * gate.reshape(*gate.shape, *[1] * (h.ndim - 2))


class Stem(nn.Module):
    """Convolutions that halve the sides of an example until they are those of the first features; dense for vectors.

    Args:
        in_shape: Shape of one example, (C, \\*sides), or (D,) for vectors.
        out_shape: Shape of the features, (width, \\*sides halved), or (width,).
    """

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        num, width = len(in_shape) - 1, out_shape[0]
        check_sides(in_shape)
        layers: list[nn.Module] = []
        sizes = _sizes(in_shape[1:], out_shape[1:])
        if len(sizes) == 1:
            layers = [convolution(in_shape[0], width, num, 3 if num else 1)]
        for n, (large, small) in enumerate(pairwise(sizes)):
            kernel, stride, _ = geometry(large, small)
            c_in = width if n else in_shape[0]
            layers += [nn.GELU()] * (n > 0) + [CONVOLUTIONS[num][0](c_in, width, kernel, stride, padding=1)]
        self.layers = nn.Sequential(*layers)
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(x)


class Head(nn.Module):
    """Mirror of :class:`Stem`: transposed convolutions from the last features to the parameters of an example.

    The last weights are scaled by 0.1, since the state of a deep hierarchy is a sum over its layers, and its size grows
    with their number.

    Args:
        in_shape: Shape of the features, (width, \\*sides), or (width,) for vectors.
        out_shape: Shape of the parameters of one example, (\\*params, C, \\*sides).
    """

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        num, width = len(in_shape) - 1, in_shape[0]
        check_sides(in_shape)
        self.front = tuple(out_shape[: len(out_shape) - num])
        last, layers = math.prod(self.front), list[nn.Module]()
        sizes = _sizes(out_shape[len(out_shape) - num :], in_shape[1:])[::-1]
        if len(sizes) == 1:
            layers = [nn.GELU(), convolution(width, last, num, 3 if num else 1)]
        for n, (small, large) in enumerate(pairwise(sizes)):
            kernel, stride, extra = geometry(large, small)
            c_out = last if n == len(sizes) - 2 else width
            up = CONVOLUTIONS[num][1](width, c_out, kernel, stride, padding=1, output_padding=extra)
            layers += [nn.GELU(), up]
        self.layers = nn.Sequential(*layers)
        initialize(self)
        with torch.no_grad():
            layers[-1].weight.mul_(0.1)  # type: ignore[operator]

    def forward(self, h: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(h).unflatten(1, self.front)


def convolution(c_in: int, c_out: int, num_sides: int, kernel: int = 1, groups: int = 1) -> nn.Module:
    """A convolution that keeps the sides; a dense layer for vectors, which have none."""
    if not num_sides:
        return nn.Linear(c_in, c_out)
    return CONVOLUTIONS[num_sides][0](c_in, c_out, kernel, padding=kernel // 2, groups=groups)


def shrink(h: Tensor, sides: Size) -> Tensor:
    """Maps (B, C, \\*larger sides) averaged to smaller sides; vectors as they are."""
    return _POOLS[len(sides)](h, sides) if sides and tuple(h.shape[2:]) != tuple(sides) else h


def grow(h: Tensor, sides: Size) -> Tensor:
    """Maps (B, C, \\*smaller sides) at larger sides, each value that of its nearest neighbour; vectors as they are."""
    return F.interpolate(h, size=sides, mode="nearest") if sides and tuple(h.shape[2:]) != tuple(sides) else h


@torch.no_grad()
def damp(network: nn.Module, factor: float) -> None:
    """Multiply the weights of the last layer of a network, so that what it adds to a sum starts small."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    own = getattr(network, "layers", network)
    last = [module for module in own.modules() if isinstance(module, kinds)]
    for layer in last[-1:]:
        layer.weight.mul_(factor)


def check_sides(shape: Shape) -> None:
    """Refuse shapes that no convolution is for.

    Raises:
        ValueError: If it has more than three sides.
    """
    if len(shape) - 1 not in (0, *CONVOLUTIONS):
        raise ValueError(
            "a hierarchy needs vectors (D,), sequences (C, L), images (C, H, W) or volumes (C, D, H, W), got shape "
            f"{tuple(shape)}: use Dense."
        )


def check_maps(in_shape: Shape, out_shape: Shape) -> Size:
    """Refuse maps of different sides; returns the sides.

    Raises:
        ValueError: If they differ.
    """
    if tuple(in_shape[1:]) != tuple(out_shape[1:]):
        raise ValueError(
            f"a layer of a hierarchy keeps the sides of its input, got {tuple(in_shape)} and {tuple(out_shape)}."
        )
    check_sides(in_shape)
    return tuple(in_shape[1:])


def _sizes(large: Size, small: Size) -> list[Size]:
    """Sides from large to small, each half of the one before.

    Raises:
        ValueError: If halving does not lead there.
    """
    sizes = [tuple(large)]
    while sizes[-1] != tuple(small):
        sizes.append(halved(sizes[-1]))
        if sizes[-1] == sizes[-2]:
            raise ValueError(f"sides of {tuple(large)} cannot be halved to {tuple(small)}.")
    return sizes
