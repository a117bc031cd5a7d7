"""Vectors, signals, images or volumes from the user's array files."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vae_zoo.data.base.checks import (
    check_finite,
    check_fractions,
    check_limit,
    check_size,
)
from vae_zoo.data.base.file_splits import FileSplits
from vae_zoo.data.base.mapped import Mapped, load_if_small
from vae_zoo.data.base.scaling import Fitted, Scale, check_scales, fit_scaling
from vae_zoo.data.base.splits import SplitName
from vae_zoo.data.datasets.images import Images
from vae_zoo.data.files.array_files import Table, read_table
from vae_zoo.data.files.csv_files import line_of
from vae_zoo.data.files.hdf5_files import HDF5Array
from vae_zoo.data.files.layouts import Layout, check_layout
from vae_zoo.distributions import Family, OptimalNormal
from vae_zoo.typing import Shape


class Arrays(FileSplits, Images):  # type: ignore[misc]  # as DataModule itself
    """Vectors, signals, images or volumes from a ``.npy``, ``.npz``, ``.pt`` or ``.csv`` file.

    Without a ``layout``, arrays of rank 2 are vectors (N, D), of rank 3 grey images (N, H, W), of rank 4 images
    (N, C, H, W) or (N, H, W, C), and of rank 5 volumes (N, C, D, H, W); a shape such as (N, 3, 256) or (N, 16, 16, 16),
    which may be something else, is refused until a layout is given. uint8 examples are scaled to [0, 1] on the device;
    floating-point ones keep their range. Labels, of any type, are numbered in the order of their sorted values.

    Args:
        path: The file; it holds the training examples, and those of the splits that have no file of their own.
        val_path: File of the validation split; None to take it from ``path`` at random.
        test_path: File of the test split; None to take it from ``path`` at random.
        key: Name of the examples in a ``.npz`` or HDF5 file or a dictionary, in a group ``group/name``; None for ``x``,
            or the only array.
        label_key: Name of the labels; None for ``y``, if there is one.
        label_column: Name of the labels' column in a ``.csv`` file, or its number if the file has no header.
        id_key: Name of the examples' ids, names or whole numbers; None for ``ids``, if there is one.
        id_column: Name of the ids' column in a ``.csv`` file, or its number if the file has no header.
        channels_last: Whether channels are the last axis, as in (N, H, W, C); None to infer it from the shape.
        layout: What the axes mean: ``vector``, where each example is flattened; ``sequence``, (N, L) or (N, C, L);
            ``image``, (N, H, W) or (N, C, H, W); ``volume``, (N, D, H, W) or (N, C, D, H, W); None for the rules above.
        length_key: Name of the lengths of padded sequences; None for ``lengths``, if there is one. What is behind the
            end of a sequence is a missing value.
        val_fraction: Fraction of examples for validation, without ``val_path``.
        test_fraction: Fraction of examples for testing, without ``test_path``.
        split_seed: Seed of the random splits.
        in_memory_limit: Size in GiB above which a split stays in its ``.npy`` or HDF5 file, and batches are read from
            there; files of the other kinds are always read whole.
        missing: Whether NaN, and in a ``.csv`` file an empty field, is a missing value; otherwise it is refused.
        scaling: Units in which the columns of vectors are modelled, fitted to the training split: ``standard``,
            ``robust`` (median and interquartile range), ``minmax``, ``log`` or ``log1p``; or one of them for each of
            some columns, by their numbers from 0, and ``none`` for the others. Everything that is reported or written
            is in the original units.
        kwargs: Arguments of :class:`Images`; only uint8 images can be made binary.

    Raises:
        FileNotFoundError: When the data are read, if a file does not exist.
        ValueError: When the data are read, if a file is corrupt or has other content.
    """

    def __init__(
        self,
        *,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        key: str | None = None,
        label_key: str | None = None,
        label_column: str | None = None,
        id_key: str | None = None,
        id_column: str | None = None,
        channels_last: bool | None = None,
        layout: Layout | None = None,
        length_key: str | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        in_memory_limit: float = 1.0,
        missing: bool = False,
        scaling: Scale | dict[str, Scale] = "none",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        self.in_memory_limit = check_limit(in_memory_limit)
        paths: dict[SplitName, str | None] = {"train": path, "val": val_path, "test": test_path}
        self.paths = {split: Path(given).expanduser() for split, given in paths.items() if given is not None}
        self.key, self.label_key, self.label_column, self.channels_last = key, label_key, label_column, channels_last
        self.id_key, self.id_column = id_key, id_column
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}
        check_layout(layout)
        self.layout, self.length_key = layout, length_key
        self.split_seed, self._missing = split_seed, missing
        self._scales = scaling
        check_scales(scaling.values() if isinstance(scaling, dict) else [scaling])

    @property
    def shape(self) -> Shape:
        return tuple(int(size) for size in self._tables["train"].x.shape[1:])

    @property
    def missing(self) -> bool:  # type: ignore[override]
        """Whether NaN is a missing value, as it is behind the ends of sequences of unequal lengths."""
        return self._missing or any(table.lengths is not None for table in self._tables.values())

    def adopt(self, model: Mapping[str, Any]) -> None:
        if "scaling" in model:
            self.__dict__["scaling"] = model["scaling"]

    @cached_property
    def scaling(self) -> Fitted | None:
        given = self._scales
        if given == "none" or not given:
            return None
        if len(self.shape) != 1:
            raise ValueError(f"scaling is of the columns of vectors, {self.paths['train']} has shape {self.shape}.")
        num = self.shape[0]
        if isinstance(given, dict):
            unknown = [name for name in given if not (name.isdecimal() and int(name) < num)]
            if unknown:
                raise ValueError(f"scaling: columns are numbered 0 .. {num - 1}, got {unknown[0]}.")
            scales = [given.get(str(n), "none") for n in range(num)]
        else:
            scales = [given] * num
        return fit_scaling(self.examples("train"), scales, [str(n) for n in range(num)], str(self.paths["train"]))

    @property
    def likelihood(self) -> Callable[[Shape], Family]:
        """Likelihood that suits the examples; see :attr:`DataModule.likelihood`."""
        return super().likelihood if self.scaling is None else OptimalNormal

    def examples_of(self, table: Table, index: np.ndarray | None) -> torch.Tensor | Mapped:
        """Some rows of a file, which stay there if they are many."""
        limit = self.in_memory_limit if isinstance(table.x, (np.memmap, HDF5Array)) else math.inf
        return load_if_small(Mapped(table.x, index, finite=True), limit)

    @cached_property
    def _tables(self) -> dict[SplitName, Table]:
        names: dict[str, Any] = {"key": self.key, "label_key": self.label_key, "label_column": self.label_column}
        names |= {"id_key": self.id_key, "id_column": self.id_column, "length_key": self.length_key}
        how: dict[str, Any] = {"layout": self.layout, "channels_last": self.channels_last, "missing": self._missing}
        tables: dict[SplitName, Table] = {}
        for split, path in self.paths.items():
            tables[split] = table = read_table(path, **names, **how)
            check_size(table.x.shape[1:], min(self.batch_size, len(table.x)), str(path))
            # Also what is of a split that nothing asks for.
            missing = self._missing or table.lengths is not None
            check_finite(Mapped(table.x), str(path), partial(_name, path, table), missing=missing)
        return tables


def _name(path: Path, table: Table, row: int) -> str:
    """What the owner of a file calls one of its rows."""
    known = [] if path.suffix != ".csv" else [f"line {line_of(path, row, len(table.x))}"]
    return ", ".join([*known, *([] if table.ids is None else [f"id {table.ids[row]}"])])
