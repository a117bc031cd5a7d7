"""Labels of external data: classes, their numbers, and labels that are unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

UNKNOWN = "with partly_labelled true they are unknown"
"""Advice on labels that are no class."""


def unknown(y: np.ndarray) -> np.ndarray:
    """Which labels are negative, NaN or empty, also as text, (N,).

    Args:
        y: Labels of any type, (N,).
    """
    if y.dtype.kind == "U":
        texts = np.char.strip(y)
        empty = texts == ""
        try:
            y = np.where(empty, "nan", texts).astype(float)
        except ValueError:
            return empty
    return ~(y >= 0) if y.dtype.kind in "if" else np.zeros(len(y), bool)


def class_labels(y: np.ndarray, where: str, *, partly: bool) -> np.ndarray:
    """The labels that are classes: those that are known, or all of them.

    Args:
        y: Labels of any type, (N,).
        where: Their name in errors.
        partly: Whether some may be unknown.

    Raises:
        ValueError: If some are unknown and may not be, except for the two labels -1 and 1; or if all of them are.
    """
    gone = unknown(y)
    if partly:
        if gone.all():
            raise ValueError(f"all {len(y)} labels in {where} are unknown: leave partly_labelled and the labels out.")
        return y[~gone]
    two = y.dtype.kind in "ifU" and set(np.unique(y).tolist()) in ({-1, 1}, {"-1", "1"})  # as some number them
    if gone.any() and not two:
        row = int(gone.argmax())
        raise ValueError(
            f"{int(gone.sum())} of {len(y)} labels in {where} are no class, the first, in row {row}, is "
            f"{y[row].item()!r}: leave these examples out; {UNKNOWN}."
        )
    return y


def known_labels(own: np.ndarray, known: Sequence[Any] | None, where: str, without: str) -> np.ndarray:
    """Sorted labels by which classes are numbered: those of the training, if they are known, else those of the data.

    Args:
        own: Sorted labels of the data.
        known: Sorted labels of the training, or None.
        where: Name of the data in errors.
        without: How to read no labels, in errors.

    Raises:
        ValueError: If the data have a label that the training has not.
    """
    if not known or not len(own):
        return own
    if new := [label for label in own.tolist() if label not in known]:
        classes = ", ".join(map(repr, known[:8])) + (", …" if len(known) > 8 else "")
        raise ValueError(
            f"labels in {where} must be classes of the training, {classes}, got {new[0]!r}: leave it out, or {without}."
        )
    return np.array(known)


def numbered(y: np.ndarray, classes: np.ndarray, *, partly: bool) -> Tensor:
    """Numbers of labels among the sorted classes, (N,), -1 for those that are unknown.

    Args:
        y: Labels, (N,).
        classes: Sorted labels of the classes.
        partly: Whether some may be unknown.
    """
    if not partly:
        return torch.from_numpy(np.searchsorted(classes, y.astype(classes.dtype)))
    numbers, known = np.full(len(y), -1), ~unknown(y)
    numbers[known] = np.searchsorted(classes, y[known].astype(classes.dtype))
    return torch.from_numpy(numbers)
