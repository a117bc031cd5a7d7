"""Tables with numbers, categories, booleans, counts and dates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from vae_zoo.data.base.checks import check_fractions, check_positive
from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.labels import class_labels, known_labels, numbered
from vae_zoo.data.base.scaling import Fitted, Scale, check_scales, fit_scaling
from vae_zoo.data.base.splits import Split, SplitName, num_left, random_split
from vae_zoo.data.files.frames import Column, ColumnType, check_types, encode, infer, read_frame, write_frame
from vae_zoo.distributions import Columns, Family
from vae_zoo.typing import Shape

if TYPE_CHECKING:
    from typing_extensions import Self


class Table(DataModule):
    """Rows of a ``.csv``, ``.tsv`` or ``.parquet`` file, with columns of several kinds and missing cells.

    Types are inferred from the training table and printed: text such as yes and no is a boolean, what consists of
    numbers a number, ISO dates are dates, and other text is a category, as is a column of one value, which adds nothing
    to the bound. Numbers and dates are scaled. Cells that are empty or ``NA`` are missing. A model of it has the
    likelihood :class:`~vae_zoo.distributions.Columns`.

    Args:
        path: The file; it holds the training rows, and those of the splits that have no file of their own.
        val_path: File of the validation split; None to take it from ``path`` at random.
        test_path: File of the test split; None to take it from ``path`` at random.
        columns: Types of columns that are not inferred, by name: number, category, boolean, count or date.
        ignore: Names of columns to leave out.
        id_column: Name of the column with the ids of the rows, which is left out.
        label_column: Name of the column with the labels, which is left out and given as condition.
        scaling: Scaling of numbers and dates, see :class:`Arrays`; or one for each of some columns, by name, and
            ``standard`` for the others.
        max_categories: Largest number of categories of a column whose type is inferred or given as category.
        unknown: Whether to refuse a category that the training table does not have, or to read it as missing.
        val_fraction: Fraction of rows for validation, without ``val_path``.
        test_fraction: Fraction of rows for testing, without ``test_path``.
        split_seed: Seed of the random splits.
        kwargs: Arguments of :class:`DataModule`.

    Raises:
        ValueError: If a type or scaling is unknown, or max_categories is less than 1; when the data are read, if a
            file has other content.
        FileNotFoundError: When the data are read, if a file does not exist.
    """

    missing = True

    def __init__(
        self,
        *,
        path: str,
        val_path: str | None = None,
        test_path: str | None = None,
        columns: dict[str, ColumnType] | None = None,
        ignore: list[str] | None = None,
        id_column: str | None = None,
        label_column: str | None = None,
        scaling: Scale | dict[str, Scale] = "standard",
        max_categories: int = 200,
        unknown: Literal["refuse", "missing"] = "refuse",
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        check_types(columns or {})
        check_scales(scaling.values() if isinstance(scaling, dict) else [scaling])
        if unknown not in ("refuse", "missing"):
            raise ValueError(f"unknown must be refuse or missing, got {unknown!r}.")
        paths: dict[SplitName, str | None] = {"train": path, "val": val_path, "test": test_path}
        self.paths = {split: Path(given).expanduser() for split, given in paths.items() if given is not None}
        self._types, self._scales, self.unknown = dict(columns or {}), scaling, unknown
        self.ignore, self.id_column, self.label_column = list(ignore or []), id_column, label_column
        self.max_categories, self.split_seed = check_positive("max_categories", max_categories), split_seed
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}

    @classmethod
    def from_frame(cls, frame: Any, path: str | Path, **kwargs: Any) -> Self:
        """A module of a pandas data frame, which is written to a Parquet file, from where later runs read it.

        Args:
            frame: The data frame.
            path: The file to write, ending in .parquet.
            kwargs: Further arguments.
        """
        write_frame(Path(path), frame)
        return cls(path=str(path), **kwargs)

    @property
    def shape(self) -> Shape:
        return (len(self.columns),)

    @property
    def num_train(self) -> int:
        return num_left(len(self._frames["train"]), self._fractions)

    @property
    def num_classes(self) -> int | None:
        return len(self.classes) or None

    @property
    def likelihood(self) -> Callable[[Shape], Family]:
        """The product of one family for each column."""
        return partial(Columns, columns=self.columns)

    @cached_property
    def columns(self) -> list[Column]:
        """The columns of the training table, with their types and categories, as plain data."""
        frame, where = self._frames["train"], str(self.paths["train"])
        named = {"ignore": self.ignore, "columns": self._types, "id_column": [self.id_column]}
        named |= {"label_column": [self.label_column]}
        named |= {"scaling": self._scales if isinstance(self._scales, dict) else ()}
        for option, names in named.items():
            for name in names:
                if name is not None and name not in frame.columns:
                    raise ValueError(f"{option}: {where} has no column {name}, but {', '.join(frame.columns[:12])}.")
        left = [self.id_column, self.label_column, *self.ignore]
        kept = frame[[name for name in frame.columns if name not in left]]
        if not len(kept.columns):
            raise ValueError(f"{where} has no column besides those left out.")
        return infer(kept, self._types, self.max_categories, where)

    @cached_property
    def classes(self) -> list[str]:
        """The labels, sorted, in the order of their numbers; empty for tables without a column of labels."""
        if self.label_column is None:
            return []
        labels = {str(self.paths[split]): self._labels(split) for split in self._frames}
        known = np.concatenate([class_labels(y, where, partly=self.partly_labelled) for where, y in labels.items()])
        where = str(self.paths["train"])
        return list(known_labels(np.unique(known), self.known_classes, where, "set label_column to null").tolist())

    @cached_property
    def scaling(self) -> Fitted | None:
        scales: list[Scale] = []
        for column in self.columns:
            given = self._scales.get(column["name"], "standard") if isinstance(self._scales, dict) else self._scales
            if column["type"] not in ("number", "date"):
                if isinstance(self._scales, dict) and self._scales.get(column["name"], "none") != "none":
                    raise ValueError(f"scaling: column {column['name']} is a {column['type']}, which is not scaled.")
                given = "none"
            scales.append(given)
        rows = self._index["train"].numpy()
        x = torch.from_numpy(self._matrices["train"][rows])
        return fit_scaling(x, scales, [column["name"] for column in self.columns], str(self.paths["train"]))

    def adopt(self, model: Mapping[str, Any]) -> None:
        """Encode rows by the columns of a trained model, which may be in another order in a new file."""
        likelihood = model.get("likelihood")
        columns = (likelihood.get("init_args") or {}).get("columns") if isinstance(likelihood, Mapping) else None
        if columns:
            self._take(columns, model.get("scaling"))

    def _take(self, columns: Sequence[Column], scaling: Fitted | None) -> None:
        self.__dict__.pop("_matrices", None)
        self.__dict__["columns"] = [dict(column) for column in columns]
        self.__dict__["scaling"] = scaling

    def setup(self, stage: str | None = None) -> None:
        model: Any = getattr(self.trainer, "lightning_module", None)
        likelihood = getattr(model, "likelihood", None)
        if isinstance(likelihood, Columns) and self.__dict__.get("columns") != likelihood.columns:
            self._take(likelihood.columns, model.recorded()["init_args"].get("scaling"))
        super().setup(stage)
        if stage == "fit":
            for line in self.describe():
                rank_zero_info(line)

    def describe(self) -> list[str]:
        """A line for each column: its name, type and missing cells, and whether it has one value only."""
        width = max(len(column["name"]) for column in self.columns)
        lines = []
        for column, x in zip(self.columns, self._matrices["train"].T, strict=True):
            kind, gone = column["type"], np.isnan(x)
            known = x[~gone]
            alone = kind != "category" and len(known) > 0 and bool((known == known[0]).all())
            if kind == "category":
                names = column["categories"]
                kind = f"category of {len(names)}" if len(names) > 1 else f"one value, {names[0]}"
            kind += f" ({column['values'][1]} or not)" if kind == "boolean" else ""
            kind += f", {gone.mean():.1%} missing" if gone.any() else ""
            kind += ", one value, where draws have others too: name it in ignore" if alone else ""
            lines.append(f"{column['name']:{width}}  {kind}")
        return lines

    def dataset(self, split: SplitName) -> Split:
        return self._split(split if split in self._frames else "train", self._index.get(split))

    def whole(self) -> Split | None:
        return self._split("train") if len(self._frames) == 1 else None

    @property
    def num_rows(self) -> int:
        return sum(map(len, self._frames.values()))

    def _split(self, source: SplitName, rows: torch.Tensor | None = None) -> Split:
        index = np.arange(len(self._frames[source])) if rows is None else rows.numpy()
        x = torch.from_numpy(self._matrices[source][index])
        ids = None if self.id_column is None else self._column(source, self.id_column).astype(str)[index]
        if self.label_column is None:
            return Split(x, rows=rows, ids=ids)
        y = numbered(self._labels(source)[index], np.array(self.classes), partly=self.partly_labelled)
        return Split(x, y, rows=rows, ids=ids)

    def _column(self, split: SplitName, name: str) -> np.ndarray:
        frame = self._frames[split]
        if name not in frame.columns:
            raise ValueError(f"{self.paths[split]} has no column {name}, which the training table has.")
        found: np.ndarray = frame[name].to_numpy(object)
        return found

    def _labels(self, split: SplitName) -> np.ndarray:
        labels = self._column(split, str(self.label_column))
        return np.array(["" if label is None or label != label else str(label).strip() for label in labels])

    @cached_property
    def _frames(self) -> dict[SplitName, Any]:
        return {split: read_frame(path) for split, path in self.paths.items()}

    @cached_property
    def _matrices(self) -> dict[SplitName, np.ndarray]:
        columns = self.columns
        return {
            split: encode(frame, columns, str(self.paths[split]), unknown=self.unknown)
            for split, frame in self._frames.items()
        }

    @cached_property
    def _index(self) -> dict[SplitName, torch.Tensor]:
        return random_split(len(self._frames["train"]), self._fractions, self.split_seed, str(self.paths["train"]))

    @property
    def _fractions(self) -> dict[SplitName, float]:
        return {split: part for split, part in self.fractions.items() if split not in self.paths}
