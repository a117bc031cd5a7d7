"""What the axes of an array of examples mean: vectors, sequences, images or volumes."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import numpy as np

Layout: TypeAlias = Literal["vector", "sequence", "image", "volume"]
"""Vectors (D,), sequences (C, L), images (C, H, W) or volumes (C, D, H, W)."""

_CHANNELS = (1, 2, 3, 4)
_LONG = 3
"""Ratio of two sides from which an array of rank 3 is rather a set of signals than of pictures."""

_RANKS: dict[Layout, tuple[int, ...]] = {"sequence": (2, 3), "image": (3, 4), "volume": (4, 5)}
_FORMS = {
    "sequence": "rank 2 (N, L) or 3 (N, C, L)",
    "image": "rank 3 (N, H, W) or 4 (N, C, H, W)",
    "volume": "rank 4 (N, D, H, W) or 5 (N, C, D, H, W)",
}


def check_layout(layout: str | None) -> None:
    """Refuse unknown layouts.

    Raises:
        ValueError: With the choices and what came.
    """
    if layout is not None and layout not in get_args(Layout):
        raise ValueError(f"layout must be {', '.join(get_args(Layout))} or none, got {layout!r}.")


def laid_out(x: np.ndarray, layout: Layout | None, channels_last: bool | None, where: str) -> np.ndarray:
    """The array as vectors (N, D), or with its channels first: (N, C, L), (N, C, H, W) or (N, C, D, H, W).

    Args:
        x: Examples, (N, ...).
        layout: What its axes mean; None to take it from the rank, where that leaves no doubt.
        channels_last: Whether channels are the last axis; None to infer it from the shape.
        where: Name of the array in errors.

    Raises:
        ValueError: If the array is of another rank, or its shape has several meanings.
    """
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{where} must hold numbers, got an array of {x.dtype}.")
    if not 2 <= x.ndim <= 5:
        raise ValueError(
            f"{where} must have rank 2 (vectors), 3 (signals or grey images), 4 (images) or 5 (volumes), got shape "
            f"{x.shape}."
        )
    layout = _inferred(x, channels_last, where) if layout is None else layout
    if layout == "vector":
        return x if x.ndim == 2 else x.reshape(len(x), -1)
    if x.ndim not in _RANKS[layout]:
        raise ValueError(f"{where} must have {_FORMS[layout]} as {layout}s, got shape {x.shape}.")
    if layout == "image" and x.dtype.kind in "iu" and x.dtype != np.uint8:
        raise ValueError(
            f"{where} has images of {x.dtype}: save them as uint8 if they lie in 0 .. 255, or as floats in [0, 1]."
        )
    if x.ndim == min(_RANKS[layout]):
        return x[:, None]
    return np.moveaxis(x, -1, 1) if _ends_in_channels(x, layout, channels_last, where) else x


def _inferred(x: np.ndarray, channels_last: bool | None, where: str) -> Layout:
    """The layout that a shape has without doubt."""
    if x.ndim == 2:
        return "vector"
    if x.ndim == 3 and max(x.shape[1:]) > _LONG * max(1, min(x.shape[1:])):
        raise ValueError(
            f"{where} has examples of shape {x.shape[1:]}: set layout to sequence if these are signals, to image if "
            "they are grey images, or to vector."
        )
    if x.ndim == 4 and channels_last is None and not {x.shape[1], x.shape[3]} & set(_CHANNELS):
        raise ValueError(
            f"{where} has examples of shape {x.shape[1:]}: set layout to volume if these are grey volumes; for images "
            "give channels_last."
        )
    return "volume" if x.ndim == 5 else "image"


def _ends_in_channels(x: np.ndarray, layout: Layout, channels_last: bool | None, where: str) -> bool:
    """Whether channels are the last axis: given, or if only that axis is short enough."""
    if channels_last is not None:
        return channels_last
    first, last = x.shape[1], x.shape[-1]
    if layout == "sequence":
        few = (last > _LONG * first, first > _LONG * last)
    else:
        few = (first in _CHANNELS, last in _CHANNELS)
    if few[0] == few[1]:
        order = {"sequence": "(N, C, L) by x.transpose(0, 2, 1)", "image": "(N, C, H, W) by x.transpose(0, 3, 1, 2)"}
        raise ValueError(
            f"{where} has {layout}s of shape {x.shape[1:]}, where the channels are either first or last: "
            f"give channels_last, or transpose them to {order.get(layout, '(N, C, D, H, W)')}."
        )
    return few[1]


def without_padding(x: np.ndarray, lengths: np.ndarray, where: str) -> np.ndarray:
    """Sequences (N, C, L) as float32 with NaN, a missing value, behind the end of each.

    Args:
        x: Padded sequences.
        lengths: Length of each, (N,).
        where: Name of the array in errors.

    Raises:
        ValueError: If there is not one length for each sequence, or one is out of range.
    """
    num, most = len(x), x.shape[-1]
    if lengths.shape != (num,) or lengths.dtype.kind not in "iu":
        raise ValueError(
            f"lengths in {where} must be whole numbers of the shape ({num},), one an example, got {lengths.dtype} of "
            f"shape {lengths.shape}."
        )
    wrong = np.flatnonzero((lengths < 1) | (lengths > most))
    if len(wrong):
        row = int(wrong[0])
        raise ValueError(f"lengths in {where} must lie in 1 .. {most}, got {lengths[row]} in row {row}.")
    gone = np.arange(most) >= lengths[:, None]
    scale = np.float32(255 if x.dtype == np.uint8 else 1)  # bytes are levels from 0 to 1, as everywhere
    return np.where(gone[:, None], np.float32(np.nan), x.astype(np.float32) / scale)
