"""Splits that are files of their own, or random parts of the training file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from vae_zoo.data.base.labels import class_labels, known_labels, numbered
from vae_zoo.data.base.mapped import Mapped
from vae_zoo.data.base.splits import Split, SplitName, num_left, random_split


class Rows(Protocol):
    """Content of one file: examples with a shape (N, ...), and their labels and ids, (N,), or None."""

    @property
    def x(self) -> Any: ...
    @property
    def y(self) -> np.ndarray | None: ...
    @property
    def ids(self) -> np.ndarray | None: ...


class FileSplits(ABC):
    """Splits, classes and identities of data modules whose examples are rows of files, one of them for training.

    A subclass sets ``paths``, ``fractions`` and ``split_seed``, and defines :meth:`examples_of` and ``_tables``.
    """

    paths: dict[SplitName, Path]
    fractions: dict[SplitName, float]
    split_seed: int
    partly_labelled: bool
    known_classes: list[Any] | None

    @cached_property
    @abstractmethod
    def _tables(self) -> Mapping[SplitName, Rows]:
        """The files."""

    @abstractmethod
    def examples_of(self, table: Any, index: np.ndarray | None) -> torch.Tensor | Mapped:
        """Some rows of a file, or all of them."""

    def named(self, split: SplitName) -> str:
        """Name of a file in errors."""
        return str(self.paths[split])

    @property
    def num_train(self) -> int:
        return num_left(self._tables["train"].x.shape[0], self._fractions)

    @property
    def num_rows(self) -> int:
        return sum(table.x.shape[0] for table in self._tables.values())

    @property
    def num_classes(self) -> int | None:
        return len(self.classes) or None

    @cached_property
    def classes(self) -> list[Any]:
        """The original labels, in the order of their numbers; empty for data without labels."""
        return list(self._sorted_labels.tolist())

    @cached_property
    def _sorted_labels(self) -> np.ndarray:
        labels = [table.y for table in self._tables.values() if table.y is not None]
        if len(labels) < len(self._tables):
            return np.array([])
        named = zip(labels, map(self.named, self._tables), strict=True)
        own = [class_labels(y, where, partly=self.partly_labelled) for y, where in named]
        return known_labels(
            np.unique(np.concatenate(own)), self.known_classes, self.named("train"), "give a file without labels"
        )

    def dataset(self, split: SplitName) -> Split:
        return self._split(self._tables[split if split in self._tables else "train"], self._index.get(split))

    def whole(self) -> Split | None:
        return self._split(self._tables["train"]) if len(self._tables) == 1 else None

    def _split(self, table: Rows, rows: torch.Tensor | None = None) -> Split:
        index = None if rows is None else rows.numpy()
        x = self.examples_of(table, index)
        ids = table.ids if table.ids is None or index is None else table.ids[index]
        if table.y is None or not self.classes:
            return Split(x, rows=rows, ids=ids)
        labels = np.asarray(table.y if index is None else table.y[index])
        return Split(x, numbered(labels, self._sorted_labels, partly=self.partly_labelled), rows=rows, ids=ids)

    @cached_property
    def _index(self) -> dict[SplitName, torch.Tensor]:
        num = self._tables["train"].x.shape[0]
        return random_split(num, self._fractions, self.split_seed, self.named("train"))

    @property
    def _fractions(self) -> dict[SplitName, float]:
        return {split: part for split, part in self.fractions.items() if split not in self.paths}
