"""Data as their owner has them, before anything is refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

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
