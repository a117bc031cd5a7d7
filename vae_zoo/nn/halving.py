"""Sizes and kernels of convolutions that halve or double sequences, images and volumes of any size."""

from __future__ import annotations

from typing import TypeAlias

Size: TypeAlias = tuple[int, ...]
"""Sides of an example besides its channels: length, height and width, or depth, height and width."""


def halved(size: Size) -> Size:
    """Half the size, rounded down, but at least 1."""
    return tuple(max(side // 2, 1) for side in size)


def halvings(large: Size, small: Size) -> list[Size]:
    """Sizes from large to small, each half of the one before.

    Raises:
        ValueError: If halving does not lead there.
    """
    sizes = [tuple(large)]
    while sizes[-1] != tuple(small) and max(sizes[-1]) > 1:
        sizes.append(halved(sizes[-1]))
    if sizes[-1] != tuple(small):
        raise ValueError(f"the grid must be the example halved so many times, one of {sizes}, got {tuple(small)}.")
    return sizes


def geometry(large: Size, small: Size) -> tuple[Size, Size, Size]:
    """Kernel, stride and output padding from one size to the other: 4 and 2, or 3 and 1 if a side is 1."""
    kernels, strides, extras = zip(*(_side(n, m) for n, m in zip(large, small, strict=True)), strict=True)
    return kernels, strides, extras


def _side(large: int, small: int) -> tuple[int, int, int]:
    stride = 1 if large == 1 else 2
    return stride + 2, stride, large - stride * small
