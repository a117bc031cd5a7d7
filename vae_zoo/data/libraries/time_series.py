"""Time series that come with the package aeon."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch

from vae_zoo.data.base.checks import check_fractions
from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.file_splits import FileSplits
from vae_zoo.data.base.splits import SplitName
from vae_zoo.data.files.array_files import Table
from vae_zoo.distributions import OptimalNormal
from vae_zoo.system.extras import require
from vae_zoo.typing import Shape

SeriesName: TypeAlias = Literal[
    "basic_motions", "gunpoint", "italy_power_demand", "japanese_vowels", "arrow_head", "acsf1", "osuleaf"
]
"""Data sets that the package contains, so that nothing is downloaded."""


class TimeSeries(FileSplits, DataModule):  # type: ignore[misc]  # as DataModule itself
    """Labelled time series of the package aeon, sequences (C, L), with the extra ``series``.

    Training and test examples of the archive are taken together and divided at random. Series of unequal lengths are
    as long as the longest, and what is behind their end is a missing value.

    References:
        | aeon: a Python Toolkit for Learning from Time Series (Middlehurst et al., 2024)
        | https://arxiv.org/abs/2406.14231

    Args:
        name: Name of the data set.
        standardise: Whether to divide each channel by its standard deviation, after subtraction of its mean.
        val_fraction: Fraction of examples for validation.
        test_fraction: Fraction of examples for testing.
        split_seed: Seed of the random splits.
        kwargs: Arguments of :class:`DataModule`.

    Raises:
        ValueError: If there is no such data set, or a fraction is invalid.
        ImportError: When the data are read, if aeon is not installed.
    """

    likelihood = OptimalNormal

    def __init__(
        self,
        *,
        name: SeriesName = "basic_motions",
        standardise: bool = True,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        if name not in get_args(SeriesName):
            raise ValueError(f"name must be one of {', '.join(get_args(SeriesName))}, got {name!r}.")
        self.name, self.standardise = name, standardise
        self.paths: dict[SplitName, Path] = {}
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}
        self.split_seed = split_seed

    @property
    def shape(self) -> Shape:
        return tuple(int(size) for size in self._tables["train"].x.shape[1:])

    @property
    def missing(self) -> bool:  # type: ignore[override]
        """Whether series are of unequal lengths."""
        return bool(np.isnan(np.asarray(self._tables["train"].x)).any())

    def named(self, split: SplitName) -> str:  # noqa: ARG002
        return f"the time series {self.name}"

    def examples_of(self, table: Table, index: np.ndarray | None) -> torch.Tensor:
        return torch.from_numpy(table.x if index is None else table.x[index])

    @cached_property
    def _tables(self) -> dict[SplitName, Table]:
        datasets = require("aeon.datasets", "series", type(self).__name__)
        series, labels = getattr(datasets, f"load_{self.name}")()[:2]
        x = padded(list(series))
        if self.standardise:
            spread = np.nanstd(x, (0, 2), keepdims=True)
            x = (x - np.nanmean(x, (0, 2), keepdims=True)) / np.where(spread > 0, spread, 1)
        return {"train": Table(x.astype(np.float32), np.asarray(labels).astype(str))}


def padded(series: list[np.ndarray]) -> np.ndarray:
    """Sequences (C, L) of unequal lengths as one array (N, C, L), with NaN behind the end of each."""
    longest = max(one.shape[-1] for one in series)
    x = np.full((len(series), series[0].shape[0], longest), np.nan)
    for place, one in enumerate(series):
        x[place, :, : one.shape[-1]] = one
    return x
