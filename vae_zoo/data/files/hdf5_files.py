"""Arrays in HDF5 files, which stay there and are read when indexed."""

from __future__ import annotations

import os
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from vae_zoo.security.limits import MAX_RATIO, MAX_UNPACKED
from vae_zoo.system.extras import require

HDF5_ENDINGS = (".h5", ".hdf5")
_CACHE = 2**24


class HDF5Array:
    """An array of a file, indexed by numbers of rows; opened in each process that reads it.

    Args:
        path: The file.
        key: Name of the array.
        shape: Its shape.
        dtype: Type of its values.
    """

    def __init__(self, path: Path, key: str, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.path, self.key, self.shape, self.stored, self.dtype = path, key, shape, shape, dtype
        self.itemsize = dtype.itemsize
        self._arrange: Callable[[np.ndarray], np.ndarray] | None = None
        self._opened: tuple[int, Any] | None = None

    def arranged(self, change: Callable[[np.ndarray], np.ndarray]) -> HDF5Array:
        """The same array with its axes rearranged on reading.

        Args:
            change: Rearranges the axes of some rows, or raises an error.
        """
        row = np.broadcast_to(np.zeros((), self.dtype), (1, *self.stored[1:]) if self.stored else ())
        other = HDF5Array(self.path, self.key, self.stored, self.dtype)
        other.shape, other._arrange = (*self.stored[:1], *change(row).shape[1:]), change
        return other

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def __getitem__(self, rows: np.ndarray | slice) -> np.ndarray:
        """Some rows, each run of neighbours in one reading."""
        rows = np.arange(len(self))[rows] if isinstance(rows, slice) else rows
        found, place = np.unique(rows, return_inverse=True)
        x, dataset = np.empty((len(found), *self.stored[1:]), self.dtype), self._dataset()
        begins = np.flatnonzero(np.diff(found, prepend=-2) != 1).tolist()
        for begin, end in zip(begins, [*begins[1:], len(found)], strict=False):
            x[begin:end] = dataset[found[begin] : found[end - 1] + 1]
        x = x if np.array_equal(found, rows) else x[place]
        return x if self._arrange is None or not len(x) else self._arrange(x)

    def read(self) -> np.ndarray:
        """The whole array; texts are strings."""
        dataset = self._dataset()
        found = dataset.asstr()[...] if dataset.dtype.kind == "O" else dataset[...]
        return found.astype(str) if found.dtype.kind == "O" else np.asarray(found)

    def _dataset(self) -> Any:
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), _file(self.path)[self.key]
        return self._opened[1]


def read_hdf5(path: Path) -> dict[str, Any]:
    """The arrays of a file by their names, those in groups as ``group/name``; nothing of them is read.

    Raises:
        ImportError: If h5py is not installed.
        ValueError: If it is no such file, or an array has its values in another file or is far larger than its file.
    """
    require("h5py", "h5", "An HDF5 file")
    found: dict[str, Any] = {}
    try:
        with _file(path) as file:
            file.visititems(lambda name, item: _note(path, name, item, found))
    except (OSError, RuntimeError, KeyError) as error:
        raise ValueError(f"{path} is truncated or no HDF5 file.") from error
    return found


def _note(path: Path, name: str, item: Any, found: dict[str, Any]) -> None:
    if not hasattr(item, "dtype"):  # a group
        return
    if item.external is not None:
        raise ValueError(f"{path} has {name} in another file, {item.external[0][0]}: refused.")
    size = prod(item.shape or ()) * item.dtype.itemsize
    if size > max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size):
        raise ValueError(f"{path} unpacks from {path.stat().st_size} to {size} bytes: refused.")
    if item.shape:
        found[name] = HDF5Array(path, name, item.shape, item.dtype)


def _file(path: Path) -> Any:
    return require("h5py", "h5", "An HDF5 file").File(path, "r", rdcc_nbytes=_CACHE)
