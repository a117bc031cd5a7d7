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
        rows, ids, parts = (getattr(loader, name, None) for name in cls._fields)
        return cls(None if rows is None else np.asarray(rows), ids, parts)

    def columns(self, positions: np.ndarray) -> dict[str, np.ndarray]:
        """``id``, if there are any, ``split``, if needed, and ``index`` of the examples at some positions."""
        known = {} if self.ids is None else {"id": self.ids[positions]}
        known |= {} if self.parts is None else {"split": self.parts[positions]}
        return {**known, "index": np.asarray(positions if self.rows is None else self.rows[positions], np.int64)}


def predicted(trainer: Trainer, number: int) -> Any:
    """One of the loaders of predict."""
    loaders = trainer.predict_dataloaders
    return loaders[number] if isinstance(loaders, (list, tuple)) else loaders
