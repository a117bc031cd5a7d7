"""Convolutional networks between examples and grids of vectors, without a dense layer."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from vae_zoo.nn.conv import CONVOLUTIONS
from vae_zoo.nn.halving import Size, geometry, halvings
from vae_zoo.typing import Shape


class GridEncoder(nn.Module):
    """Strided convolutions, then residual blocks: from an example to a grid of vectors of half its size or less.

    Examples are sequences (C, L), images (C, H, W) or volumes (C, D, H, W).

    References:
        | Neural Discrete Representation Learning, section 4.1 (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        in_shape: Shape of one example, (C, \\*sides).
        out_shape: Shape of one grid, (\\*params, D, \\*small); these are the sides halved equally often, rounded down.
        width: Channels of every layer.
        num_blocks: Number of residual blocks.

    Raises:
        ValueError: If the shapes are not those of an example and a grid of it, or a size is less than 1.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, *, width: int = 64, num_blocks: int = 2) -> None:
        super().__init__()
        num_sides = len(in_shape) - 1
        sizes = _sizes(in_shape, out_shape, width, num_blocks)
        self.front = tuple(out_shape[:-num_sides])
        convolution, _ = CONVOLUTIONS[num_sides]
        layers: list[nn.Module] = [convolution(in_shape[0], width, 3, padding=1)]
        for large, small in pairwise(sizes):
            kernel, stride, _ = geometry(large, small)
            layers += [nn.ReLU(), convolution(width, width, kernel, stride, padding=1)]
        blocks = [_Block(width, num_sides) for _ in range(num_blocks)]
        self.layers = nn.Sequential(*layers, *blocks, nn.ReLU(), convolution(width, math.prod(self.front), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(x).unflatten(1, self.front)


class GridDecoder(nn.Module):
    """The mirror of :class:`GridEncoder`: residual blocks, then transposed convolutions.

    Args:
        in_shape: Shape of one grid, (D, \\*small).
        out_shape: Shape of the parameters of one example, (\\*params, C, \\*sides).
        width: Channels of every layer.
        num_blocks: Number of residual blocks.

    Raises:
        ValueError: If the shapes are not those of a grid of an example and the example, or a size is less than 1.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, *, width: int = 64, num_blocks: int = 2) -> None:
        super().__init__()
        num_sides = len(in_shape) - 1
        sizes = _sizes(out_shape[-1 - num_sides :], in_shape, width, num_blocks)[::-1]
        self.front = tuple(out_shape[:-num_sides])
        convolution, transposed = CONVOLUTIONS[num_sides]
        layers: list[nn.Module] = [convolution(in_shape[0], width, 3, padding=1)]
        layers += [_Block(width, num_sides) for _ in range(num_blocks)]
        for small, large in pairwise(sizes):
            kernel, stride, extra = geometry(large, small)
            layers += [nn.ReLU(), transposed(width, width, kernel, stride, padding=1, output_padding=extra)]
        last = convolution(width, math.prod(self.front), 3, padding=1)
        self.layers = nn.Sequential(*layers, nn.ReLU(), last)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(z).unflatten(1, self.front)


class _Block(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, width: int, num_sides: int) -> None:
        super().__init__()
        convolution, _ = CONVOLUTIONS[num_sides]
        inner = convolution(width, width, 3, padding=1)
        self.layers = nn.Sequential(nn.ReLU(), inner, nn.ReLU(), convolution(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _sizes(shape: Shape, grid: Shape, width: int, num_blocks: int) -> list[Size]:
    """Sides of the example, halved down to those of the grid."""
    num_sides = len(shape) - 1
    if num_sides not in CONVOLUTIONS or len(grid) < len(shape):
        shapes = f"{tuple(shape)} and {tuple(grid)}"
        raise ValueError(
            "a network of grids needs a sequence, image or volume, as in (C, H, W), and a grid of it, as in (D, h, w), "
            f"got {shapes}: use Dense."
        )
    if width < 1 or num_blocks < 0:
        raise ValueError(f"width must be at least 1 and num_blocks at least 0, got {width} and {num_blocks}.")
    return halvings(shape[1:], grid[-num_sides:])
