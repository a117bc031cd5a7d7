"""Checks of external data, with one-line errors."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_zoo.data.base.labels import UNKNOWN
from vae_zoo.data.base.mapped import Mapped, chunks
from vae_zoo.data.base.splits import Split
from vae_zoo.system.memory import physical
from vae_zoo.typing import Shape


def check_form(given: Any, where: str) -> None:
    """Refuse anything but a split of tensors.

    Args:
        given: What a data module returned.
        where: Its name in errors.

    Raises:
        ValueError: With what was given.
    """
    if not isinstance(given, Split):
        raise ValueError(f"{where} must give a Split, Split(x) or Split(x, y), got a {type(given).__name__}.")
    for name, value in given._asdict().items():
        if value is None and name != "x":
            continue
        if name == "ids":
            if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuU":
                came = getattr(value, "dtype", type(value).__name__)
                raise ValueError(f"ids of {where} must be a numpy array of strings or integers, got {came}.")
            continue
        if not isinstance(value, (Tensor, Mapped)):
            raise ValueError(f"{name} of {where} must be a tensor, got a {type(value).__name__}.")
        if isinstance(value, Tensor) and value.layout is not torch.strided:
            raise ValueError(f"{name} of {where} must be dense, got {value.layout}: take x.to_dense().")
    if len(given.x.shape) < 2:
        raise ValueError(f"x of {where} must be (N, ...), one example a row, got shape {tuple(given.x.shape)}.")


def check_split(
    split: Split, where: str, shape: Shape, num_classes: int | None, *, lowest: int = 0, missing: bool = False
) -> None:
    """Refuse a split that no model could be trained on.

    Args:
        split: The split.
        where: Its name in errors.
        shape: Required shape of each example.
        num_classes: Number of classes of the labels, or None.
        lowest: Lowest label: −1 if some may be unknown.
        missing: Whether NaN is a missing value.

    Raises:
        ValueError: If the split is empty, of another shape, not finite, or has invalid labels.
    """
    x, y = split.x, split.y
    if x.dtype not in (torch.uint8, torch.float32):
        raise ValueError(f"x in {where} must be uint8 or floating point, got {x.dtype}.")
    if len(x) == 0:
        raise ValueError(f"There are no examples in {where}.")
    if tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(f"Examples in {where} must have the shape {tuple(shape)}, got {tuple(x.shape[1:])}.")
    check_finite(x, where, split.name, missing=missing)
    others = {"labels": y, "rows of factors": split.factors, "row numbers": split.rows, "ids": split.ids}
    for name, value in others.items():
        if value is not None and len(value) != len(x):
            raise ValueError(f"There are {len(value)} {name} for {len(x)} examples in {where}.")
    if split.rows is not None and (split.rows.ndim != 1 or split.rows.is_floating_point()):
        raise ValueError(f"rows of {where} must be whole numbers, (N,), got {split.rows.dtype}.")
    if y is not None and num_classes is not None and not lowest <= int(y.min()) <= int(y.max()) < num_classes:
        what = f"Labels in {where} must lie in {lowest} .. {num_classes - 1}, got {int(y.min())} .. {int(y.max())}"
        raise ValueError(what + (f": {UNKNOWN}." if int(y.min()) == -1 else "."))


def check_finite(
    x: Tensor | Mapped, where: str, name: Callable[[int], str] | None = None, *, missing: bool = False
) -> None:
    """Refuse values that are not finite, with their number and the place of the first.

    Args:
        x: Examples, (N, \\*shape).
        where: Their name in errors.
        name: What the owner of the data calls an example, from its position, such as ``line 7``.
        missing: Whether NaN is a missing value, and therefore allowed.

    Raises:
        ValueError: If there are any.
    """
    if not x.is_floating_point() or (isinstance(x, Mapped) and x.finite):
        return
    num, unknown, first = 0, 0, (len(x),)
    for index, part in chunks(x):
        if not torch.isfinite(part.sum(dtype=torch.float64)):
            wrong = part.isinf() if missing else ~torch.isfinite(part)
            bad, unknown = wrong.nonzero(), unknown + int(part.isnan().sum())
            if len(bad):
                bad[:, 0] = index[bad[:, 0]]
                place = tuple(bad[bad[:, 0].argmin()].tolist())
                num, first = num + len(bad), min(first, place)
    if num:
        known = f" ({text})" if name and (text := name(first[0])) else ""
        hint = "; if NaN is a missing value, set missing to true" if unknown and not missing else ""
        raise ValueError(f"{num} values in {where} are not finite, the first at index {first}{known}{hint}.")


def check_columns_known(x: Tensor | Mapped, where: str) -> None:
    """Refuse vectors of which an entry is missing in every example: nothing can be learned about it.

    Raises:
        ValueError: With the number of the first such entry.
    """
    if len(x.shape) != 2:
        return
    known = torch.zeros(x.shape[1], dtype=torch.bool)
    for _, part in chunks(x):
        known |= ~part.isnan().all(0)
    if not known.all():
        empty = (~known).nonzero().flatten().tolist()
        raise ValueError(
            f"column {empty[0]} has no value in {where}, counted from 0, one of {len(empty)} such: leave it out."
        )


def check_size(shape: Shape, batch_size: int, where: str) -> None:
    """Refuse examples so large that no batch fits into memory, before they are read.

    Raises:
        ValueError: If they are too large.
    """
    needed, limit = 4 * batch_size * math.prod(shape), physical()
    if needed > limit:
        raise ValueError(
            f"a batch of {batch_size} examples in {where} takes {needed / 2**30:.0f} GiB, of which there are "
            f"{limit / 2**30:.0f}: choose a smaller batch_size, or fewer dimensions."
        )


def check_varied(x: Tensor | Mapped, where: str) -> None:
    """Refuse examples that are all equal, from which nothing can be learned.

    Raises:
        ValueError: If every example equals the first one.
    """
    first = x[:1]
    if len(x) > 1 and all(bool((part == first).all()) for _, part in chunks(x)):
        what = (
            f"hold the value {float(first.flatten()[0]):g} only" if (first == first.flatten()[0]).all() else "are equal"
        )
        raise ValueError(f"All {len(x)} examples in {where} {what}: there is nothing to learn from them.")


def check_positive(name: str, value: int) -> int:
    """Return the value if it is at least 1.

    Raises:
        ValueError: If it is not.
    """
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return value


def check_drop_last(num: int, batch_size: int, world_size: int) -> None:
    """Refuse to leave out the last batch of a training epoch if it is the only one.

    Raises:
        ValueError: If it is.
    """
    if num // world_size < batch_size:
        each = f"{num // world_size} training examples" + (" on each rank" if world_size > 1 else "")
        raise ValueError(f"drop_last leaves no batch: {each}, but batch_size is {batch_size}.")


def check_limit(in_memory_limit: float) -> float:
    """Return the limit if it is valid.

    Raises:
        ValueError: If it is negative or not a number.
    """
    if not in_memory_limit >= 0:
        raise ValueError(f"in_memory_limit must be at least 0 GiB, got {in_memory_limit}.")
    return in_memory_limit


def check_fractions(val_fraction: float, test_fraction: float) -> None:
    """Refuse invalid fractions.

    Raises:
        ValueError: If one lies outside (0, 1), or both together reach 1.
    """
    for name, value in (("val_fraction", val_fraction), ("test_fraction", test_fraction)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {value}.")
    if val_fraction + test_fraction >= 1:
        raise ValueError(f"val_fraction + test_fraction must be below 1, got {val_fraction + test_fraction}.")
