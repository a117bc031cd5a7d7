"""Rows of predict as CSV or Parquet files, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from vae_zoo.system.writing import replacing

TableKind: TypeAlias = Literal["csv", "parquet", "none"]

WIDEST = 256
"""Largest number of values of a row, for instance latent dimensions, that a table has columns for."""


def check_kind(kind: str) -> None:
    """Refuse a kind of table that cannot be written.

    Raises:
        ValueError: If it is unknown.
        ImportError: If it needs a package that is not installed.
    """
    if kind not in ("csv", "parquet", "none"):
        raise ValueError(f"table must be csv, parquet or none, got {kind!r}.")
    if kind == "parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ImportError("table parquet needs pyarrow: pip install 'vae_zoo[table]', or choose csv.") from error


def fits(shape: tuple[int, ...]) -> bool:
    """Whether a table has columns for rows of a shape: single values and vectors that are not too wide."""
    return len(shape) < 2 and (not shape or shape[0] <= WIDEST)


def write_table(path: Path, kind: TableKind, blocks: Iterator[Mapping[str, np.ndarray]]) -> None:
    """Write a table; a column of vectors becomes one column for each of their values, ``z0``, ``z1``, ….

    Args:
        path: The file.
        kind: "csv" or "parquet".
        blocks: Blocks of rows, at least one: the columns by name, (n,) or (n, D).

    Raises:
        WriteError: If it cannot be written.
    """
    with replacing(path) as part:
        (_write_csv if kind == "csv" else _write_parquet)(part, map(_flat, blocks))


def _flat(block: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    flat: dict[str, np.ndarray] = {}
    for name, values in block.items():
        flat |= {name: values} if values.ndim == 1 else {f"{name}{d}": values[:, d] for d in range(values.shape[1])}
    return flat


def _write_csv(path: Path, blocks: Iterator[dict[str, np.ndarray]]) -> None:
    # File names that are no text come out as they are.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        for number, block in enumerate(blocks):
            if not number:
                writer.writerow(block)
            # As text, single precision has the fewest digits that lead back to it.
            writer.writerows(zip(*(values.astype(str) for values in block.values()), strict=True))


def _write_parquet(path: Path, blocks: Iterator[dict[str, np.ndarray]]) -> None:
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    first = pyarrow.table(
        {
            name: pyarrow.array(values.tolist() if values.dtype.kind == "U" else values)
            for name, values in next(blocks).items()
        }
    )
    with ParquetWriter(path, first.schema) as writer:
        writer.write_table(first)
        for block in blocks:
            columns = {name: values.tolist() if values.dtype.kind == "U" else values for name, values in block.items()}
            writer.write_table(pyarrow.table(columns, schema=first.schema))
