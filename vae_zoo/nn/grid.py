"""Convolutional networks between images and grids of vectors, without a dense layer."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from vae_zoo.nn.halving import Size, geometry, halved
from vae_zoo.typing import Shape


class GridEncoder(nn.Module):
    """Strided convolutions, then residual blocks: from an image to a grid of vectors of a half, a quarter, … its size.

    References:
        | Neural Discrete Representation Learning, section 4.1 (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        in_shape: Shape of one image, (C, H, W).
        out_shape: Shape of one grid, (\\*params, D, h, w); h and w are H and W halved equally often, rounded down.
        width: Channels of every layer.
        num_blocks: Number of residual blocks.

    Raises:
        ValueError: If the shapes are not those of an image and a grid of it, or a size is less than 1.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, *, width: int = 64, num_blocks: int = 2) -> None:
        super().__init__()
        sizes = _sizes(in_shape, out_shape, width, num_blocks)
        self.out_shape = tuple(out_shape)
        layers: list[nn.Module] = [nn.Conv2d(in_shape[0], width, 3, padding=1)]
        for large, small in pairwise(sizes):
            kernel, stride, _ = geometry(large, small)
            layers += [nn.ReLU(), nn.Conv2d(width, width, kernel, stride, padding=1)]
        blocks = [_Block(width) for _ in range(num_blocks)]
        self.layers = nn.Sequential(*layers, *blocks, nn.ReLU(), nn.Conv2d(width, math.prod(out_shape[:-2]), 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, *out_shape)."""
        return self.layers(x).unflatten(1, self.out_shape[:-2])


class GridDecoder(nn.Module):
    """The mirror of :class:`GridEncoder`: residual blocks, then transposed convolutions.

    Args:
        in_shape: Shape of one grid, (D, h, w).
        out_shape: Shape of the parameters of one image, (\\*params, C, H, W).
        width: Channels of every layer.
        num_blocks: Number of residual blocks.

    Raises:
        ValueError: If the shapes are not those of a grid of an image and the image, or a size is less than 1.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, *, width: int = 64, num_blocks: int = 2) -> None:
        super().__init__()
        sizes = _sizes(out_shape[-3:], in_shape, width, num_blocks)[::-1]
        self.out_shape = tuple(out_shape)
        layers: list[nn.Module] = [nn.Conv2d(in_shape[0], width, 3, padding=1)]
        layers += [_Block(width) for _ in range(num_blocks)]
        for small, large in pairwise(sizes):
            kernel, stride, extra = geometry(large, small)
            layers += [nn.ReLU(), nn.ConvTranspose2d(width, width, kernel, stride, padding=1, output_padding=extra)]
        last = nn.Conv2d(width, math.prod(out_shape[:-2]), 3, padding=1)
        self.layers = nn.Sequential(*layers, nn.ReLU(), last)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(z).unflatten(1, self.out_shape[:-2])


class _Block(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        inner = nn.Conv2d(width, width, 3, padding=1)
        self.layers = nn.Sequential(nn.ReLU(), inner, nn.ReLU(), nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _sizes(image: Shape, grid: Shape, width: int, num_blocks: int) -> list[Size]:
    """Height and width of the image, halved down to those of the grid."""
    if len(image) != 3 or len(grid) < 3:
        shapes = f"{tuple(image)} and {tuple(grid)}"
        raise ValueError(f"a network of grids needs an image (C, H, W) and a grid (D, h, w), got {shapes}: use Dense.")
    if width < 1 or num_blocks < 0:
        raise ValueError(f"width must be at least 1 and num_blocks at least 0, got {width} and {num_blocks}.")
    sizes, end = [(image[1], image[2])], (grid[-2], grid[-1])
    while sizes[-1] != end and sizes[-1] != (1, 1):
        sizes.append(halved(sizes[-1]))
    if sizes[-1] != end:
        raise ValueError(f"the grid must be the image halved so many times, one of {sizes}, got {end}.")
    return sizes
