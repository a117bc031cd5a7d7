"""Data as their owner has them, before anything is refused."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

UNIQUE = 0.95
"""Share of different values in a column of ids."""
_MOST_LABELS = 50
_ID = re.compile(r"(^|_)(id|uuid|guid|key|index|row|nr|number)$|^unnamed", re.IGNORECASE)
_LABEL = re.compile(r"^(y|labels?|class(es)?|targets?|outcome|diagnosis|cell_?types?|species)$", re.IGNORECASE)

Kind: TypeAlias = Literal["images", "folder", "vectors", "table", "counts"]
"""Images in an array file or in a folder, vectors, a table of several kinds of columns, or a file of counts."""


class Column(NamedTuple):
    """A column of vectors.

    Args:
        name: Its name, or its number from 0.
        type: "number", or in tables also "text" and "date".
        levels: Number of different values.
    """

    name: str
    type: Literal["number", "text", "date"]
    levels: int


class Picture(NamedTuple):
    """What an image file is.

    Args:
        name: Its path in the folder.
        size: Width and height.
        transparent: Whether some pixels are not opaque.
        grey: Whether it has no colours.
        colour: Whether it is stored in colour.
        blank: Whether all pixels are equal.
        error: Why it cannot be read; empty if it can.
    """

    name: str
    size: tuple[int, int] = (0, 0)
    transparent: bool = False
    grey: bool = False
    colour: bool = False
    blank: bool = False
    error: str = ""


@dataclass
class Source:
    """One split of a data set.

    Args:
        path: The file or folder.
        kind: What it holds.
        x: Images (N, C, H, W) in their stored type, of a folder thumbnails; or vectors (N, D), in which NaN is missing,
            text is numbered, and dates are days.
        num: Number of examples, of which x may be a part.
        columns: The columns of vectors.
        y: Labels, (N,), or None.
        keys: Hash of each example, (N,), to find equal ones.
        pictures: The files of a folder, one for each that was looked at.
        test: The test split, if it is known.
        settings: Options of the data module that were given, such as the column of labels.
    """

    path: Path
    kind: Kind
    x: np.ndarray
    num: int
    columns: list[Column] = field(default_factory=list)
    y: np.ndarray | None = None
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    pictures: list[Picture] = field(default_factory=list)
    test: Source | None = None
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def is_images(self) -> bool:
        """Whether examples are images."""
        return self.kind in ("images", "folder")

    @cached_property
    def numbers(self) -> list[int]:
        """Places of the columns of numbers."""
        return [n for n, column in enumerate(self.columns) if column.type == "number"]

    @cached_property
    def features(self) -> list[int]:
        """Places of the columns of numbers that are neither ids nor labels; of all if there are no others."""
        left = [n for n in self.numbers if n not in {*self.ids, *self.labels}]
        return left or self.numbers

    @cached_property
    def ids(self) -> list[int]:
        """Places of columns in which nearly every row has another value, of text or of whole numbers."""
        found = []
        for n, column in enumerate(self.columns):
            values = self.known[n]
            if column.type == "date" or len(values) < 20 or column.levels < UNIQUE * len(values):
                continue
            whole = column.type == "text" or bool((values == np.round(values)).all())
            counted = column.type == "number" and whole and np.ptp(values) <= 1.05 * max(len(values), self.num)
            if column.type == "text" or counted or (whole and _ID.search(column.name)):
                found.append(n)
        return found

    @cached_property
    def labels(self) -> list[int]:
        """Places of columns that are labels: by their names, or because they determine those of the file."""
        found = [n for n, c in enumerate(self.columns) if _LABEL.match(c.name) and 2 <= c.levels <= _MOST_LABELS]
        if self.y is not None and not self.is_images and self.kind != "counts":
            y = np.unique(self.y, return_inverse=True)[1]
            num = len(np.unique(y))
            for n, column in enumerate(self.x.T):
                same = num > 1 and len(np.unique(column)) == num and n not in found
                if same and len(np.unique(np.stack([column, y], 1), axis=0)) == num:
                    found.append(n)
        return found

    def option(self, name: str, values: dict[int, str]) -> str:
        """An option of the data module with a value for some columns, as a shell takes it."""
        by_name = self.path.suffix in (".csv", ".tsv", ".parquet")
        keys = {self.columns[n].name if by_name else str(n): value for n, value in values.items()}
        words = ["--data", "Table"] if by_name and self.kind == "vectors" else []
        return shlex.join([*words, f"--data.{name}", json.dumps(keys)])

    @cached_property
    def known(self) -> list[np.ndarray]:
        """Finite values of each column."""
        return [column[np.isfinite(column)] for column in self.x.T] if not self.is_images else []

    @cached_property
    def whole(self) -> bool:
        """Whether all values are whole numbers from 0 on, some of them above 1."""
        values = np.concatenate([self.known[n] for n in self.numbers]) if self.numbers else np.zeros(0)
        return bool(len(values) and (values >= 0).all() and (values == np.round(values)).all() and values.max() > 1)

    @cached_property
    def binary(self) -> bool:
        """Whether all values are one of two."""
        if self.is_images:
            values = self.x[:2000]
            low, high = values.min(), values.max()
            return bool(low < high and ((values == low) | (values == high)).all())
        each = [np.unique(self.known[n]) for n in self.numbers]
        return bool(each and len(each) == len(self.columns) and len(np.unique(np.concatenate(each))) == 2)

    def names(self, places: list[int], most: int = 4) -> str:
        """Names of some columns, the first few of them."""
        shown = ", ".join(self.columns[n].name for n in places[:most])
        return f"{shown} and {len(places) - most} more" if len(places) > most else shown
