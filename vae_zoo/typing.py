"""Types shared by the whole package."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from torch import Tensor, nn

Shape: TypeAlias = tuple[int, ...]
"""Shape of one example or latent, without the batch dimension."""

Network: TypeAlias = Callable[[Shape, Shape], nn.Module]
"""Factory of a network: (in_shape, out_shape) -> module that maps (B, *in_shape) to (B, *out_shape)."""


class Batch(NamedTuple):
    """A batch from a loader of :class:`vae_zoo.data.DataModule`.

    Args:
        x: Examples, (B, \\*shape); uint8 images in the loader, float in [0, 1] once on the device.
        y: Labels, (B,), or several values of each example, (B, A); None for data without any.
        index: Position of each example in its split, (B,).
        key: Seed of everything random in this batch: a function of (seed, epoch, rank, position).
    """

    x: Tensor
    y: Tensor | None
    index: Tensor  # type: ignore[assignment]  # shadows tuple.index, which nobody asks of a batch
    key: int = 0
