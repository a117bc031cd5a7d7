"""Texts and their reconstructions, for models of tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from vae_zoo.callbacks.predicting import tables
from vae_zoo.callbacks.predicting.identity import Identity
from vae_zoo.callbacks.predicting.rows import MergedRows
from vae_zoo.callbacks.predicting.tables import TableKind
from vae_zoo.data.text.vocabulary import to_text

_ROWS = 4096


def write_texts(rows: MergedRows, identity: Identity, path: Path, kind: TableKind, likelihood: Any) -> Path:
    """Write a table of texts and reconstructions, with the identity of each row.

    Args:
        rows: Numbers of tokens, ``x`` and ``reconstruction``.
        identity: Rows and ids of the examples.
        path: The file.
        kind: Kind of table.
        likelihood: The model's likelihood, which has the vocabulary.
    """

    def texts(name: str, start: int) -> np.ndarray:
        found = rows.take(name, start, start + _ROWS).astype(int).tolist()
        return np.array([to_text(row, likelihood.vocabulary, likelihood.level) for row in found], dtype=str)

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, max(len(rows), 1), _ROWS):
            known = identity.columns(rows.positions[start : start + _ROWS])
            yield {**known, "text": texts("x", start), "reconstruction": texts("reconstruction", start)}

    tables.write_table(path, kind, blocks())
    return path
