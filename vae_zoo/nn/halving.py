"""Sizes and kernels of convolutions that halve or double images of any size."""

from __future__ import annotations

from typing import TypeAlias

Size: TypeAlias = tuple[int, int]
"""Height and width."""


def halved(size: Size) -> Size:
    """Half the size, rounded down, but at least 1."""
    return max(size[0] // 2, 1), max(size[1] // 2, 1)


def geometry(large: Size, small: Size) -> tuple[Size, Size, Size]:
    """Kernel, stride and output padding from one size to the other: 4 and 2, or 3 and 1 if a side is 1."""
    (k_h, s_h, e_h), (k_w, s_w, e_w) = (_side(n, m) for n, m in zip(large, small, strict=True))
    return (k_h, k_w), (s_h, s_w), (e_h, e_w)


def _side(large: int, small: int) -> tuple[int, int, int]:
    stride = 1 if large == 1 else 2
    return stride + 2, stride, large - stride * small
