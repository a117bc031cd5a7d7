"""Readers of matrices of counts, which stay sparse."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vae_zoo.data.files.array_files import read_table
from vae_zoo.security.limits import check_archive, check_gzip
from vae_zoo.system.extras import require

SUFFIXES = (".npy", ".npz", ".csv", ".mtx", ".mtx.gz", ".h5ad")

_ROWS = 4096
"""Rows of a dense array that are made sparse at once."""


class CountTable(NamedTuple):
    """Counts of one file in the form ``scipy.sparse.csr_matrix``, (N, D); labels and ids, (N,), and features, (D,)."""

    x: Any
    y: np.ndarray | None = None
    ids: np.ndarray | None = None
    features: np.ndarray | None = None

    def row(self, n: int) -> str:
        """What the owner of the file calls a row."""
        return f"row {n}" if self.ids is None else f"row {n} (id {self.ids[n]})"

    def column(self, n: int) -> str:
        """What the owner of the file calls a column."""
        return f"column {n}" if self.features is None else f"column {n} ({self.features[n]})"


def read_counts(
    path: Path,
    *,
    key: str | None = None,
    label_key: str | None = None,
    label_column: str | None = None,
    id_column: str | None = None,
    transpose: bool = False,
) -> CountTable:
    """Read a file in the format of its extension.

    Args:
        path: The file.
        key: Name of the counts: an array of a dense ``.npz`` file, or a layer of an ``.h5ad`` file.
        label_key: Name of the labels: an array of a dense ``.npz`` file, or a column of the ``obs`` of an ``.h5ad``.
        label_column: Name or number of the labels' column in a ``.csv`` file.
        id_column: Name or number of the ids' column in a ``.csv`` file.
        transpose: Whether rows of the file are features, and its columns examples.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or holds anything but counts.
        ImportError: If it is an ``.h5ad`` file and anndata is not installed.
    """
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"{path} must end in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    anndata = require("anndata", "cells", "Counts from an .h5ad file") if path.suffix == ".h5ad" else None
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    kind = next(suffix for suffix in SUFFIXES if path.name.endswith(suffix))
    with _readable(path, kind):
        if anndata is not None:
            table = _read_cells(path, anndata.read_h5ad(path), key, label_key)
        elif path.name.endswith((".mtx", ".mtx.gz")):
            table = CountTable(_read_market(path))
        elif path.suffix == ".npz" and (sparse := _read_sparse(path)) is not None:
            table = CountTable(sparse)
        else:
            table = _read_dense(path, key, label_key, label_column, id_column)
        x = _as_rows(path, table.x)
    if transpose:
        if table.y is not None or table.ids is not None:
            raise ValueError(f"transpose is for files of counts alone, and {path} has labels or ids beside them.")
        table, x = CountTable(None), x.T.tocsr()
    table = table._replace(x=x.astype(np.float32, copy=False))
    check_counts(table, str(path))
    return table


@contextmanager
def _readable(path: Path, kind: str) -> Iterator[None]:
    """Turn errors of readers into one line; errors of ours pass."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"{path} is truncated or no {kind} file: {' '.join(str(error).split())}.") from error
    except Exception as error:  # OSError, EOFError, KeyError, zlib.error: each reader has its own
        raise ValueError(f"{path} is truncated or no {kind} file.") from error


def _as_rows(path: Path, x: Any) -> Any:
    """A matrix of any layout by rows, with its places checked: outside of its shape they would be written to memory."""
    from scipy import sparse

    if x.dtype.kind not in "biuf":
        raise ValueError(f"{path} must hold numbers, got {x.dtype}.")
    if hasattr(x, "check_format"):
        x.check_format(full_check=True)
    return sparse.csr_matrix(x)


def _read_dense(
    path: Path, key: str | None, label_key: str | None, label_column: str | None, id_column: str | None
) -> CountTable:
    from scipy import sparse

    x, y, ids, _ = read_table(
        path, key=key, label_key=label_key, label_column=label_column, id_column=id_column, channels_last=None
    )
    if x.ndim != 2:
        raise ValueError(f"{path} must have rank 2, an example a row, got shape {x.shape}.")
    blocks = [sparse.csr_matrix(x[start : start + _ROWS], dtype=np.float64) for start in range(0, len(x), _ROWS)]
    return CountTable(sparse.vstack(blocks, "csr") if blocks else sparse.csr_matrix(x.shape), y, ids)


def _read_sparse(path: Path) -> Any:
    """The matrix of ``scipy.sparse.save_npz``, or None for other archives."""
    from scipy import sparse

    check_archive(path)
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:  # numpy leaves damaged files open
        if not {"format", "shape", "data"} <= set(content.files):
            return None
        file.seek(0)
        return sparse.load_npz(file)


def _read_market(path: Path) -> Any:
    from scipy import io

    if path.suffix != ".gz":
        return io.mmread(path)
    check_gzip(path)
    with gzip.open(path, "rb") as file:
        return io.mmread(file)


def _read_cells(path: Path, cells: Any, layer: str | None, label_key: str | None) -> CountTable:
    if layer is not None and layer not in cells.layers:
        raise ValueError(f"{path} has no layer {layer}: it has {', '.join(cells.layers) or 'none'}.")
    x = cells.X if layer is None else cells.layers[layer]
    if x is None:
        raise ValueError(f"{path} has no X: give one of its layers, {', '.join(cells.layers) or 'none'}, as key.")
    if label_key is not None and label_key not in cells.obs:
        raise ValueError(f"{path} has no {label_key} in obs: its columns are {', '.join(cells.obs.columns) or 'none'}.")
    labels = None if label_key is None else np.asarray(cells.obs[label_key], object)
    y = None if labels is None else np.array(["" if label != label else str(label) for label in labels])
    ids, features = (np.asarray(index.astype(str), dtype=str) for index in (cells.obs_names, cells.var_names))
    return CountTable(x, y, ids, features)


def check_counts(table: CountTable, where: str) -> None:
    """Refuse anything but whole numbers from 0 on.

    Args:
        table: The counts.
        where: Their name in errors.

    Raises:
        ValueError: With the first row that holds something else.
    """
    values = table.x.data
    wrong = ~((values >= 0) & (values == np.floor(values)) & np.isfinite(values))
    if wrong.any():
        first, num = int(wrong.argmax()), int(wrong.sum())
        row = int(np.searchsorted(table.x.indptr, first, side="right")) - 1
        raise ValueError(
            f"{table.row(row)} of {where} holds {values[first]:.6g} in {table.column(int(table.x.indices[first]))}"
            f"{f', one of {num} such values' if num > 1 else ''}: counts are whole numbers from 0 on; "
            "give raw counts, neither normalised nor on a logarithmic scale."
        )
