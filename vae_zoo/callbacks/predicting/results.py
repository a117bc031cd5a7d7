"""Files of the columns of a loader's rows: arrays, and tables of those that fit into one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vae_zoo.callbacks.predicting import tables
from vae_zoo.callbacks.predicting.identity import Identity
from vae_zoo.callbacks.predicting.rows import MergedRows
from vae_zoo.callbacks.predicting.tables import TableKind
from vae_zoo.system.writing import as_column, write_npz

_CLUSTERS = ("cluster", "cluster_probability")

_ARRAYS = {
    "latents": ("z", "z_scale", "codes", *_CLUSTERS, "y"),
    "scores": ("elbo", "kl", "log_px", "log_evidence", "regret", "log_p_columns", "y"),
    "features": ("log_px_per_feature",),
    "reconstructions": ("x", "reconstruction"),
}
"""Columns of the files of arrays, beside the identity of each row."""

_TABLES = {
    "latents": ("z", *_CLUSTERS, "y"),
    "scores": _ARRAYS["scores"],
    "features": _ARRAYS["features"],
}
"""Columns of the tables."""


def write_arrays(
    rows: MergedRows, identity: Identity, folder: Path, added: Mapping[str, Mapping[str, np.ndarray]] | None = None
) -> list[Path]:
    """Write the columns of all ranks in order, a few megabytes at a time, with the identity of each row.

    Args:
        rows: Rows of the loader.
        identity: Rows and ids of its examples.
        folder: Folder of the files.
        added: Further columns, by the name of the file.

    Returns:
        The files.
    """
    paths = []
    known = {column: as_column(values) for column, values in identity.columns(rows.positions).items()}
    for name, columns in _ARRAYS.items():
        found = {column: rows.column(column) for column in columns if column in rows.layout}
        more = {column: as_column(values) for column, values in (added or {}).get(name, {}).items()}
        if found:
            paths.append(folder / f"{name}.npz")
            write_npz(paths[-1], {**known, **found, **more})
    return paths


def write_tables(
    rows: MergedRows,
    identity: Identity,
    folder: Path,
    kind: TableKind,
    added: Mapping[str, Mapping[str, np.ndarray]],
    named: Mapping[str, Sequence[str]],
) -> list[Path]:
    """Write the same as tables, where all columns of a file fit into one.

    Args:
        rows: Rows of the loader.
        identity: Rows and ids of its examples.
        folder: Folder of the files.
        kind: Kind of table.
        added: Further columns, by the name of the file.
        named: Names of the values of a row, for columns that have them; they fit, however many they are.

    Returns:
        The files.
    """
    paths: list[Path] = []
    for name, columns in _TABLES.items() if kind != "none" else ():
        found = [column for column in columns if column in rows.layout]
        found = [column for column in found if column not in named or tables.fits(rows.layout[column][1])]
        if found and all(tables.fits(rows.layout[column][1]) for column in found):
            paths.append(folder / f"{name}.{kind}")
            tables.write_table(paths[-1], kind, _blocks(rows, identity, found, added.get(name, {}), named))
    return paths


def _blocks(
    rows: MergedRows,
    identity: Identity,
    names: Sequence[str],
    added: Mapping[str, np.ndarray],
    named: Mapping[str, Sequence[str]],
) -> Iterator[dict[str, np.ndarray]]:
    """Blocks of the rows of a table."""
    for start, end in rows.spans():
        columns = {name: rows.take(name, start, end) for name in names}
        for name in set(named) & set(columns):
            columns |= dict(zip(named[name], columns.pop(name).T, strict=True))
        more = {name: values[start:end] for name, values in added.items()}
        yield {**identity.columns(rows.positions[start:end]), **columns, **more}


def write_columns(path: Path, columns: Mapping[str, np.ndarray], kind: TableKind) -> list[Path]:
    """Write columns that are in memory as arrays, and beside them as a table.

    Args:
        path: The file of arrays.
        columns: The columns by name.
        kind: Kind of table.

    Returns:
        The files.
    """
    write_npz(path, {name: as_column(values) for name, values in columns.items()})
    if kind == "none":
        return [path]
    table = path.with_suffix(f".{kind}")
    tables.write_table(table, kind, iter([columns]))
    return [path, table]
