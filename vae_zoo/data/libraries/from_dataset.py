"""Any map-style data set of torch, or other source of items by index."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Dataset

from vae_zoo.data.base.checks import check_fractions, check_limit, check_size
from vae_zoo.data.base.file_splits import FileSplits
from vae_zoo.data.base.items import Fetcher, Items, as_labels
from vae_zoo.data.base.loader import TensorLoader
from vae_zoo.data.base.mapped import Mapped, to_tensor
from vae_zoo.data.base.splits import SplitName
from vae_zoo.data.base.workers import WorkerLoader
from vae_zoo.data.datasets.images import Images
from vae_zoo.system.seeding import mix
from vae_zoo.typing import Batch, Shape

_BLOCK = 256


class Read(NamedTuple):
    """A data set that was gone through once: examples in memory or to be fetched, their labels and ids, (N,)."""

    x: np.ndarray | Fetcher
    y: np.ndarray | None
    ids: np.ndarray | None


class ItemSplits(FileSplits, Images):  # type: ignore[misc]  # as DataModule itself
    """Splits of data sets with items by index; a subclass names them in ``given`` and ``paths``.

    Args:
        x_key: Key of the example in a dictionary, or several keys of numbers that make a vector; by default one of
            ``x``, ``image``, ``img`` and ``pixel_values``, or the only one besides the label.
        label_key: Key of the label in a dictionary; by default one of ``y``, ``label``, ``labels`` and ``target``.
        id_key: Key of the id in a dictionary.
        labels: Whether to use the labels; false for targets that are no classes.
        random: Whether the data sets draw random numbers; None to find out from their first items, fetched twice.
        val_fraction: Fraction of examples for validation, without a data set for it.
        test_fraction: Fraction of examples for testing, without a data set for it.
        split_seed: Seed of the random splits.
        in_memory_limit: Size in GiB of a data set above which its examples are fetched whenever they are needed.
        num_workers: Processes that fetch training examples that are not in memory; 0 for none.
        kwargs: Arguments of :class:`Images`.

    Raises:
        TypeError: When the data are read, if a data set has no length or items.
        ValueError: When the data are read, if items have another form, or examples several shapes.
    """

    given: dict[SplitName, Any]

    def __init__(
        self,
        *,
        x_key: str | list[str] | None = None,
        label_key: str | None = None,
        id_key: str | None = None,
        labels: bool = True,
        random: bool | None = None,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        in_memory_limit: float = 1.0,
        num_workers: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        if num_workers < 0:
            raise ValueError(f"num_workers must be at least 0, got {num_workers}.")
        self.in_memory_limit, self.num_workers = check_limit(in_memory_limit), num_workers
        self.keys: dict[str, Any] = {"x_key": x_key, "y_key": label_key, "id_key": id_key}
        self.keys |= {"labelled": labels, "random": random}
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}
        self.split_seed = split_seed

    @abstractmethod
    def opened(self, split: SplitName) -> Any:
        """The data set of a split."""

    @property
    def shape(self) -> Shape:
        return tuple(self._tables["train"].x.shape[1:])

    def examples_of(self, table: Read, index: np.ndarray | None) -> torch.Tensor | Mapped:
        """Some examples, in memory or fetched when they are indexed."""
        if isinstance(table.x, Fetcher):
            return Items(table.x, index)
        return to_tensor(table.x if index is None else table.x[index])

    @cached_property
    def _tables(self) -> dict[SplitName, Read]:
        tables: dict[SplitName, Read] = {}
        for split in self.given:
            source = Fetcher(self.opened(split), self.named(split), **self.keys)
            check_size(source.shape[1:], min(self.batch_size, len(source)), source.where)
            tables[split] = self._gone_through(source)
        return tables

    def _gone_through(self, source: Fetcher) -> Read:
        """A data set with its labels and ids, and its examples if they fit into memory and are the same every time."""
        size = len(Items(source)) and Items(source).nbytes
        kept = size <= self.in_memory_limit * 2**30 and not source.random
        x = np.empty(source.shape, source.dtype) if kept else source
        labels: list[Any] = []
        ids: list[Any] = []
        for start in range(0, len(source), _BLOCK) if kept or self.keys["labelled"] or source.id_key else ():
            rows = np.arange(start, min(start + _BLOCK, len(source)))
            for row, (example, label, name) in zip(rows, source.items(rows), strict=True):
                if isinstance(x, np.ndarray):
                    x[row] = example
                labels.append(label)
                ids.append(name)
        return Read(x, as_labels(labels, source.where), as_ids(ids, source.where) if source.id_key else None)

    def _loader(self, split: SplitName, *, training: bool | None = None) -> TensorLoader:
        loader = super()._loader(split, training=training)
        x = self.load(split).x
        if not (loader.training and isinstance(x, Items)):
            return loader
        how = {**self._loading(split, training), "ahead": loader.ahead}
        if self.num_workers:
            return _WorkerFetching(_Fetched(x, loader.y), num_workers=self.num_workers, **how)
        return _FetchingLoader(x, loader.y, **how) if x.fetcher.random else loader


class FromDataset(ItemSplits):
    """Data sets with items by index, such as those of ``torch.utils.data`` and ``torchvision.datasets``.

    An item is an example, a pair of an example and its label, or a dictionary. Examples are tensors, arrays or images
    of Pillow, all of one shape; labels of any type are numbered in the order of their sorted values.

    A data set is gone through once at the start, for its labels. Examples of at most ``in_memory_limit`` then stay in
    memory, where a batch is one indexing operation; others are fetched one at a time, by ``num_workers`` processes in
    training. Training examples of a data set that draws random numbers, as for augmentation, are fetched anew in every
    epoch, as a function of (seed, epoch, row), so that a resumed run has the same; other examples are drawn once.

    Args:
        train: The data set, or a class or ``functools.partial`` that makes it; on the command line a class. It has the
            training examples, and those of the splits that have no data set of their own.
        val: The same for the validation split; None to take it from ``train`` at random.
        test: The same for the test split; None to take it from ``train`` at random.
        kwargs: Arguments of :class:`ItemSplits`.
    """

    sources = ("train",)

    def __init__(
        self,
        *,
        train: Callable[[], Dataset],
        val: Callable[[], Dataset] | None = None,
        test: Callable[[], Dataset] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        given: dict[SplitName, Any] = {"train": train, "val": val, "test": test}
        self.given = {split: source for split, source in given.items() if source is not None}
        self.paths = {split: Path(split) for split in self.given}

    @property
    def recordable(self) -> bool:
        """Whether the data sets were given as classes, which can be made again, and not as objects."""
        return all(callable(source) for source in self.given.values())

    def named(self, split: SplitName) -> str:
        source = self.given[split]
        kind = getattr(source, "__name__", type(source).__name__)
        return f"the {split} data set" if kind in ("partial", "function") else f"{kind} ({split})"

    def opened(self, split: SplitName) -> Any:
        source = self.given[split]
        return source() if callable(source) else source


class _FetchingLoader(TensorLoader):
    """Loader of examples that are another each time, as a function of (seed, epoch, row)."""

    def _batches(self, start: int) -> Iterator[Batch]:
        order, drawn = self._order(), mix(self.seed, self.epoch)
        for position in range(start, len(self)):
            with _seeded(self.x, drawn):
                batch = self._batch(order, position)
            yield batch


class _WorkerFetching(WorkerLoader):
    """The same with worker processes."""

    def _batches(self, start: int) -> Iterator[Batch]:
        self.x.drawn = mix(self.seed, self.epoch)  # type: ignore[union-attr]  # a _Fetched, which workers get a copy of
        return super()._batches(start)


class _Fetched(Dataset):
    """Single examples, for worker processes."""

    def __init__(self, x: Items, y: torch.Tensor | None) -> None:
        self.x, self.y, self.drawn = x, y, 0

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        with _seeded(self.x, self.drawn):
            x = self.x[torch.tensor([index])][0]
        return x if self.y is None else (x, self.y[index])


@contextmanager
def _seeded(x: Any, seed: int) -> Iterator[None]:
    before, x.fetcher.seed = x.fetcher.seed, seed
    try:
        yield
    finally:
        x.fetcher.seed = before


def as_ids(given: list[Any], where: str) -> np.ndarray:
    """Ids as an array, (N,).

    Raises:
        ValueError: If they are no names or whole numbers.
    """
    ids = np.array([name.item() if hasattr(name, "item") else name for name in given])
    if ids.dtype.kind not in "iuU" or ids.ndim != 1:
        raise ValueError(f"ids of {where} must be names or whole numbers, got {ids.dtype}.")
    return ids
