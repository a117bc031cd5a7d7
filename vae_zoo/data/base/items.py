"""Examples that a map-style data set gives one at a time, as arrays."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_zoo.data.base.mapped import Mapped
from vae_zoo.system.seeding import mix

X_KEYS = ("x", "image", "img", "pixel_values")
Y_KEYS = ("y", "label", "labels", "target")
_CHANNELS = (1, 2, 3, 4)
_TRIED = 32


class Fetcher:
    """A map-style data set as an array of its examples, (N, \\*shape), with their labels and ids.

    Items are an example, a pair of an example and its label, or a dictionary. Examples are arrays, tensors, numbers in
    a list, or images of Pillow, all of one shape. Images become (C, H, W); an array with its channels last is turned.

    Args:
        dataset: Has a length, and gives items by index; by ``__getitems__`` several at a time, if it has that.
        where: Name of the data set in errors.
        x_key: Key of the example in a dictionary, or keys of numbers that make a vector; None for the usual ones.
        y_key: Key of the label in a dictionary; None for the usual ones.
        id_key: Key of the id in a dictionary; None for no ids.
        labelled: Whether to use the labels.
        random: Whether items are others each time; None to fetch the first ones twice.

    Raises:
        TypeError: If it is no map-style data set.
        ValueError: If it is empty, or its first item is of another form.
    """

    def __init__(
        self,
        dataset: Any,
        where: str,
        *,
        x_key: str | Sequence[str] | None = None,
        y_key: str | None = None,
        id_key: str | None = None,
        labelled: bool = True,
        random: bool | None = None,
    ) -> None:
        if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
            advice = "" if not hasattr(dataset, "__iter__") else ": write an iterable one as shards, see Stream"
            came = type(dataset).__name__
            raise TypeError(f"{where} must be a map-style data set, with a length and items, got a {came}{advice}.")
        self.dataset, self.where, self.seed = dataset, where, 0
        self.x_key, self.y_key, self.id_key, self.labelled = x_key, y_key, id_key, labelled
        self.num = len(dataset)
        if not self.num:
            raise ValueError(f"There are no examples in {where}.")
        self.random = False
        with drawing(0):
            self._choose_keys(dataset[0])
            first = self._example(0, dataset[0])
        self.shape, self.dtype = (self.num, *first.shape), first.dtype
        self.random = self._draws() if random is None else random

    def __len__(self) -> int:
        return self.num

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Examples of some rows, (B, \\*shape)."""
        return (
            np.stack([x for x, _, _ in self.items(rows)]) if len(rows) else np.empty((0, *self.shape[1:]), self.dtype)
        )

    def items(self, rows: np.ndarray) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """Examples of some rows, their labels and ids, or None.

        Random numbers that a data set draws are a function of ``seed`` and the row.

        Raises:
            ValueError: If an example is of another shape than the first.
        """
        several = getattr(self.dataset, "__getitems__", None)
        if several is not None and not self.random:
            given: Any = zip(rows.tolist(), several(rows.tolist()), strict=True)
        else:
            given = ((row, self._drawn(row)) for row in rows.tolist())
        for row, item in given:
            x = self._example(row, item)
            if x.shape != self.shape[1:]:
                raise ValueError(
                    f"examples of {self.where} must have one shape: number 0 has {self.shape[1:]}, number {row} "
                    f"{x.shape}: resize them."
                )
            yield x, self._label(item), item[self.id_key] if self.id_key else None

    def _drawn(self, row: int) -> Any:
        if not self.random:
            return self.dataset[row]
        with drawing(mix(self.seed, row)):
            return self.dataset[row]

    def _draws(self) -> bool:
        """Whether the same item is another the second time."""
        for row in range(min(self.num, _TRIED)):
            with drawing(1):
                first = self._example(row, self.dataset[row])
            with drawing(2):
                second = self._example(row, self.dataset[row])
            if not np.array_equal(first, second, equal_nan=first.dtype.kind == "f"):
                return True
        return False

    def _choose_keys(self, item: Any) -> None:
        """Decide which entries of a dictionary are the example and the label.

        Raises:
            ValueError: If a key does not exist, or the example could be several.
        """
        if not isinstance(item, Mapping):
            if self.x_key is not None or self.y_key is not None or self.id_key is not None:
                raise ValueError(f"{self.where} gives a {type(item).__name__} and no dictionary: leave the keys out.")
            return
        keys = [str(key) for key in item]
        asked = [self.x_key] if isinstance(self.x_key, str) else list(self.x_key or [])
        for key in [*asked, self.y_key, self.id_key]:
            if key is not None and key not in item:
                raise ValueError(f"{self.where} has no {key}: there is {', '.join(keys)}.")
        if self.y_key is None:
            self.y_key = next((key for key in Y_KEYS if key in item and key not in asked), None)
        if not self.x_key:
            others = [key for key in keys if key not in (self.y_key, self.id_key)]
            found = [key for key in X_KEYS if key in others][:1] or others
            if not found:
                raise ValueError(f"{self.where} has no column for examples, only {', '.join(keys)}.")
            if len(found) > 1:
                raise ValueError(f"{self.where} has several columns: choose the example among {', '.join(keys)}.")
            self.x_key = found[0]

    def _example(self, row: int, item: Any) -> np.ndarray:
        return as_array(self._given(item), f"{self.where}, number {row}")

    def _given(self, item: Any) -> Any:
        if isinstance(item, Mapping):
            if isinstance(self.x_key, str):
                return item[self.x_key]
            return np.array([_number(item[key], key, self.where) for key in self.x_key or ()], np.float32)
        if isinstance(item, (tuple, list)) and not all(isinstance(part, (int, float)) for part in item):
            if len(item) > 2:
                raise ValueError(f"{self.where} must give x, (x, y) or a dictionary, got {len(item)} values.")
            return item[0]
        return item

    def _label(self, item: Any) -> Any:
        if not self.labelled:
            return None
        if isinstance(item, Mapping):
            return item.get(self.y_key)
        pair = isinstance(item, (tuple, list)) and len(item) == 2
        return item[1] if pair and not all(isinstance(part, (int, float)) for part in item) else None


class Items(Mapped):
    """Examples of a data set, fetched when indexed; see :class:`Fetcher`.

    Args:
        fetcher: The data set.
        rows: Its rows that are the examples, in order; None for all.
    """

    def __init__(self, fetcher: Fetcher, rows: np.ndarray | None = None) -> None:
        super().__init__(fetcher, rows, finite=fetcher.dtype == np.uint8)
        self.fetcher = fetcher


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Random numbers of ``torch``, ``numpy`` and ``random`` from a seed; their states are restored afterwards."""
    states = torch.default_generator.get_state(), np.random.get_state(), random.getstate()
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def as_array(given: Any, where: str) -> np.ndarray:
    """An example as an array: images (C, H, W), uint8 as they are; everything else in float32.

    Args:
        given: An array, tensor, image of Pillow, or list of numbers.
        where: Its name in errors.

    Raises:
        ValueError: If it is something else, or an image of whole numbers other than uint8.
    """
    if hasattr(given, "getbands") and hasattr(given, "convert"):
        mode = "L" if given.mode in ("1", "L") else "RGB"
        x = np.asarray(given if given.mode == mode else given.convert(mode))
        x = x.transpose(2, 0, 1) if mode == "RGB" else x
    elif isinstance(given, Tensor):
        x = given.detach().cpu().to_dense().float().numpy() if given.is_floating_point() else given.cpu().numpy()
    else:
        try:
            x = np.asarray(given)
        except ValueError:
            x = np.empty(0, object)
    if x.dtype.kind not in "biuf" or not x.ndim:
        raise ValueError(f"{where} must be an array of numbers or an image, got {_kind(given)}.")
    if x.ndim > 1 and x.dtype.kind in "iu" and x.dtype != np.uint8:
        raise ValueError(f"{where} is of {x.dtype}: give uint8 if it lies in 0 .. 255, or floats in [0, 1].")
    if x.ndim == 2:
        x = x[None]
    elif x.ndim == 3 and isinstance(given, np.ndarray) and x.shape[0] not in _CHANNELS and x.shape[2] in _CHANNELS:
        x = x.transpose(2, 0, 1)
    if x.dtype == np.bool_ and x.ndim > 1:
        return x.astype(np.uint8) * 255
    return x if x.dtype == np.uint8 and x.ndim > 1 else x.astype(np.float32)


def as_labels(given: Sequence[Any], where: str) -> np.ndarray | None:
    """Labels as an array, (N,), or None if there are none.

    Args:
        given: The label of each example, or None.
        where: Name of the data in errors.

    Raises:
        ValueError: If some have none, or they are no classes.
    """
    known = [label is not None for label in given]
    if not any(known):
        return None
    if not all(known):
        raise ValueError(f"{where} has no label for number {known.index(False)}: set labels to false, or give all.")
    plain = [label.item() if getattr(label, "ndim", None) == 0 and hasattr(label, "item") else label for label in given]
    if any(not isinstance(label, (int, float, str, bool, np.generic)) for label in plain):
        came = next(label for label in plain if not isinstance(label, (int, float, str, bool, np.generic)))
        raise ValueError(f"labels of {where} must be classes, got {_kind(came)}: set labels to false.")
    y = np.array(plain)
    if y.dtype.kind not in "biufU" or (y.dtype.kind == "f" and not np.array_equal(y, np.round(y))):
        raise ValueError(
            f"labels of {where} must be classes, whole numbers or names, got {y.dtype}: set labels to false."
        )
    return y


def _number(value: Any, key: str, where: str) -> float:
    try:
        return float("nan") if value is None else float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{key} of {where} must be a number, got {_kind(value)}.") from None


def _kind(value: Any) -> str:
    if hasattr(value, "dtype"):
        return f"{type(value).__name__} of {value.dtype}"
    return f"the text {value[:40]!r}" if isinstance(value, str) else f"a {type(value).__name__}"
