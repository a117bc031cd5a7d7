"""Counts from the user's files, or drawn."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vae_zoo.data.base.checks import check_fractions, check_limit, check_size
from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.file_splits import FileSplits
from vae_zoo.data.base.mapped import Mapped, load_if_small
from vae_zoo.data.base.sparse import Sparse
from vae_zoo.data.base.splits import SplitName
from vae_zoo.data.files.count_files import CountTable, read_counts
from vae_zoo.distributions import Family, NegativeBinomial
from vae_zoo.typing import Shape

NUM_CELLS, NUM_GENES, SHARES = 3000, 200, (0.3, 0.25, 0.18, 0.12, 0.1, 0.05)


class Counts(FileSplits, DataModule):  # type: ignore[misc]  # as DataModule itself
    """Vectors of counts, such as those of genes in cells, from a file, or drawn if no path is given.

    Files are ``.h5ad`` (with the extra ``cells``), MatrixMarket ``.mtx`` and ``.mtx.gz``, ``.npz`` of
    ``scipy.sparse.save_npz``, or dense ``.npy``, ``.npz`` and ``.csv``. Rows are kept sparse, and made dense a batch at
    a time. Labels, of any type, are numbered in the order of their sorted values; a batch of cells as label makes it
    the condition of a :class:`~vae_zoo.models.ConditionalVAE`.

    Without a path, these are 3000 drawn cells of 6 types with 200 genes, the type as label: negative binomial counts
    whose mean is a total, log-normal about 500, times the shares of the genes, which depend on the type and on two
    continuous factors.

    Args:
        path: The file; it holds the training examples, and those of the splits that have no file of their own.
        val_path: File of the validation split; None to take it from ``path`` at random.
        test_path: File of the test split; None to take it from ``path`` at random.
        key: Name of the counts: a layer of an ``.h5ad`` file, None for its X; or an array of a dense ``.npz`` file.
        label_key: Name of the labels: a column of ``obs`` of an ``.h5ad`` file, or an array of a dense ``.npz`` file.
        label_column: Name of the labels' column in a ``.csv`` file, or its number if the file has no header.
        id_column: The same for the ids of the examples; those of an ``.h5ad`` file are its ``obs_names``.
        transpose: Whether rows of the file are features, as in the ``matrix.mtx.gz`` of 10x Genomics.
        val_fraction: Fraction of examples for validation, without ``val_path``.
        test_fraction: Fraction of examples for testing, without ``test_path``.
        split_seed: Seed of the random splits.
        in_memory_limit: Size in GiB up to which a split is kept dense, which is faster.
        kwargs: Arguments of :class:`DataModule`.

    Raises:
        ValueError: If a file of a split is given without ``path``; when the data are read, if a file is corrupt, or
            holds anything but counts.
        FileNotFoundError: When the data are read, if a file does not exist.
    """

    def __init__(
        self,
        *,
        path: str | None = None,
        val_path: str | None = None,
        test_path: str | None = None,
        key: str | None = None,
        label_key: str | None = None,
        label_column: str | None = None,
        id_column: str | None = None,
        transpose: bool = False,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        in_memory_limit: float = 0.1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        named = {"key": key, "label_key": label_key, "label_column": label_column, "id_column": id_column}
        others = {"val_path": val_path, "test_path": test_path, **named, "transpose": transpose or None}
        if path is None and (given := [name for name, value in others.items() if value is not None]):
            raise ValueError(f"only a file has {', '.join(given)}: give path too, or leave that out for drawn counts.")
        paths: dict[SplitName, str | None] = {"train": path, "val": val_path, "test": test_path}
        self.paths = {split: Path(name).expanduser() for split, name in paths.items() if name is not None}
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}
        self.split_seed, self.in_memory_limit = split_seed, check_limit(in_memory_limit)
        self._reading: dict[str, Any] = {**named, "transpose": transpose}

    @property
    def shape(self) -> Shape:
        return (int(self._tables["train"].x.shape[1]),) if self.paths else (NUM_GENES,)

    @property
    def likelihood(self) -> type[Family]:
        """Negative binomial, of which a Poisson likelihood is a limit."""
        return NegativeBinomial

    @cached_property
    def features(self) -> list[str]:
        """Names of the features, such as genes; empty if the file has none."""
        names = self._tables["train"].features
        return [] if names is None else [str(name) for name in names]

    def named(self, split: SplitName) -> str:
        return str(self.paths.get(split, "the drawn counts"))

    def examples_of(self, table: CountTable, index: np.ndarray | None) -> torch.Tensor | Mapped:
        """Some rows, which stay sparse if they are many."""
        return load_if_small(Sparse(table.x, index), self.in_memory_limit)

    @cached_property
    def _tables(self) -> dict[SplitName, CountTable]:
        if not self.paths:
            return {"train": draw_cells()}
        tables = {split: read_counts(path, **self._reading) for split, path in self.paths.items()}
        for split, table in tables.items():
            check_size(table.x.shape[1:], min(self.batch_size, table.x.shape[0]), str(self.paths[split]))
        return tables


def draw_cells(num_cells: int = NUM_CELLS, num_genes: int = NUM_GENES, seed: int = 0) -> CountTable:
    """Counts of genes in cells of six types, the same for the same numbers.

    Args:
        num_cells: Number N of cells.
        num_genes: Number D of genes.
        seed: Seed of the draw.

    Returns:
        Counts (N, D) and the types, (N,).
    """
    from scipy import sparse

    random = np.random.default_rng(seed)
    level = random.normal(0, 1.5, num_genes)
    marked = random.random((len(SHARES), num_genes)) < 0.2
    of_type = marked * random.normal(0, 1.3, (len(SHARES), num_genes))
    direction = random.normal(0, 0.25, (2, num_genes))
    dispersion = 0.5 + random.gamma(2.0, 1.0, num_genes)
    kind = random.choice(len(SHARES), num_cells, p=SHARES)
    total = np.exp(random.normal(np.log(500), 0.5, (num_cells, 1)))
    logs = level + of_type[kind] + random.normal(size=(num_cells, 2)) @ direction
    shares = np.exp(logs)
    mean = total * shares / shares.sum(1, keepdims=True)
    counts = random.poisson(random.gamma(dispersion, mean / dispersion))
    return CountTable(sparse.csr_matrix(counts, dtype=np.float32), kind)
