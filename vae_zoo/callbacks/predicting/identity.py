"""Which row of the source each example of a loader is."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import Trainer


class Identity(NamedTuple):
    """Rows and ids of the examples of a loader, by their positions in it.

    Args:
        rows: Row of each example in its source, (N,), or None if these are the positions.
        ids: Names or numbers of the examples, (N,), or None.
        parts: Splits of the examples, (N,), if rows of several splits have the same numbers; otherwise None.
    """

    rows: np.ndarray | None = None
    ids: np.ndarray | None = None
    parts: np.ndarray | None = None

    @classmethod
    def of(cls, loader: Any) -> Identity:
        """Those that a loader knows; a foreign loader knows only positions."""
        rows, ids, parts = (getattr(loader, name, None) for name in ("rows", "ids", "parts"))
        return cls(None if rows is None else np.asarray(rows), ids, parts)

    def find(self, name: int | str, num: int) -> int:
        """Position of an example. A text is an id; a number too if ids are numbers, and otherwise the index.

        Args:
            name: Id or index.
            num: Number of examples.

        Raises:
            ValueError: If there is none, or more than one.
        """
        by_id = isinstance(name, str) or (self.ids is not None and self.ids.dtype.kind in "iu")
        if by_id and self.ids is None:
            raise ValueError(f"pairs: the examples have no ids, got {name!r}: give their index.")
        known: Any = self.ids if by_id else np.arange(num) if self.rows is None else self.rows
        found = np.flatnonzero(known.astype(str) == name if isinstance(name, str) else known == name)
        if len(found) != 1:
            which = f"the {'id' if by_id else 'index'} {name!r}"
            if len(found):
                raise ValueError(f"pairs: {len(found)} of the examples have {which}.")
            span = f"; they lie in {known.min()} .. {known.max()}" if num and known.dtype.kind in "iu" else ""
            raise ValueError(f"pairs: none of the {num} examples has {which}{span}.")
        return int(found[0])

    def columns(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """``id``, if there are any, ``split``, if needed, and ``index`` of the examples at some positions."""
        known = {} if self.ids is None else {"id": self.ids[positions]}
        known |= {} if self.parts is None else {"split": self.parts[positions]}
        return {**known, "index": np.asarray(positions if self.rows is None else self.rows[positions], np.int64)}


def size_of(loader: Any) -> int | None:
    """Number of examples of a loader of ours; None if unknown."""
    for part in ("x", "rows"):
        if (found := getattr(loader, part, None)) is not None:
            return len(found)
    return None


def predicted(trainer: Trainer, number: int) -> Any:
    """One of the loaders of predict."""
    loaders = trainer.predict_dataloaders
    return loaders[number] if isinstance(loaders, (list, tuple)) else loaders
