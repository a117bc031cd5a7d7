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


def write_texts(rows: MergedRows, identity: Identity, path: Path, kind: TableKind, likelihood: Any) -> Path:
    """Write a table of texts and reconstructions, with the identity of each row.

    Args:
        rows: Numbers of tokens, ``x`` and ``reconstruction``.
        identity: Rows and ids of the examples.
        path: The file.
        kind: Kind of table.
        likelihood: The model's likelihood, which has the vocabulary.
    """

    def texts(name: str, start: int, end: int) -> np.ndarray:
        found = rows.take(name, start, end).astype(int).tolist()
        return np.array([to_text(row, likelihood.vocabulary, likelihood.level) for row in found], dtype=str)

    def blocks() -> Iterator[dict[str, np.ndarray]]:
        for start, end in rows.spans():
            known = identity.columns(rows.positions[start:end])
            yield {**known, "text": texts("x", start, end), "reconstruction": texts("reconstruction", start, end)}

    tables.write_table(path, kind, blocks())
    return path
