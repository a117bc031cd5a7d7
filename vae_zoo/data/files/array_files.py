"""Readers of array files, which execute no code in them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vae_zoo.data.files.csv_files import read_csv
from vae_zoo.data.files.hdf5_files import HDF5_ENDINGS, HDF5Array, read_hdf5
from vae_zoo.data.files.layouts import Layout, laid_out, without_padding
from vae_zoo.security.limits import check_archive


class Table(NamedTuple):
    """Examples of one file, (N, \\*shape), their labels, (N,), their ids, (N,), and their lengths if unequal, (N,)."""

    x: np.ndarray | HDF5Array
    y: np.ndarray | None
    ids: np.ndarray | None = None
    lengths: np.ndarray | None = None


def read_table(
    path: Path,
    *,
    key: str | None,
    label_key: str | None,
    label_column: str | None,
    channels_last: bool | None,
    id_key: str | None = None,
    id_column: str | None = None,
    length_key: str | None = None,
    layout: Layout | None = None,
    missing: bool = False,
) -> Table:
    """Read a file in the format of its extension.

    Args:
        path: The file.
        key: Name of the examples among several arrays.
        label_key: Name of the labels among several arrays.
        label_column: Name or number of the labels' column.
        channels_last: Whether channels are the last axis; None to infer it from the shape.
        id_key: Name of the ids among several arrays; None for ``ids``, if there is one.
        id_column: Name or number of the ids' column.
        length_key: Name of the lengths of padded sequences; None for ``lengths``, if there is one.
        layout: What the axes mean; None to take it from the rank, where that leaves no doubt.
        missing: Whether an empty field of a .csv file is a missing value.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or does not contain examples.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.suffix == ".csv":
        table = Table(*read_csv(path, label_column, id_column, missing=missing))
    elif path.suffix in _READERS:
        arrays = _READERS[path.suffix](path)
        names = {"y": label_key, "ids": id_key}
        names |= {"lengths": length_key} if layout == "sequence" or length_key else {}
        table = _choose(path, arrays, key, names) if isinstance(arrays, dict) else Table(arrays, None)
    else:
        raise ValueError(f"{path} must end in .npy, .npz, .pt, .csv, .h5 or .hdf5.")
    arrange = partial(laid_out, layout=layout, channels_last=channels_last, where=str(path))
    x = table.x.arranged(arrange) if isinstance(table.x, HDF5Array) else arrange(table.x)
    table = table._replace(x=x)
    if layout != "sequence":
        if length_key is not None:
            raise ValueError(f"length_key: only sequences have lengths, set layout to sequence to read {path}.")
        table = table._replace(lengths=None)
    elif table.lengths is not None:
        table = table._replace(x=without_padding(x[np.arange(len(x))], table.lengths, str(path)))
    return _check_ids(path, _check_labels(path, table))


def _read_archive(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    check_archive(path)
    return _read_numpy(path)


def _read_numpy(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    try:
        if path.suffix == ".npy":
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
            if isinstance(loaded, np.ndarray):
                return loaded
            loaded.close()
            raise ValueError("an archive")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:  # numpy leaves damaged files open
            return dict(content)
    except Exception as error:  # besides ValueError: BadZipFile, EOFError, zlib.error, tokenize's errors
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise ValueError(f"{path} holds an array of Python objects: save one of numbers.") from error
        raise ValueError(f"{path} is truncated or no {path.suffix} file.") from error


def _read_torch(path: Path) -> np.ndarray | dict[str, np.ndarray]:
    check_archive(path, stored=True)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # besides UnpicklingError: RuntimeError, EOFError, KeyError, IndexError
        raise ValueError(f"{path} is truncated, no .pt file, or holds more than tensors.") from error
    if isinstance(content, torch.Tensor):
        return _to_numpy(content)
    if isinstance(content, dict):
        arrays = {str(name): _to_numpy(value) for name, value in content.items() if isinstance(value, torch.Tensor)}
        names = {str(name): value for name, value in content.items() if isinstance(value, list) and value}
        arrays |= {name: np.array(texts) for name, texts in names.items() if all(isinstance(t, str) for t in texts)}
        if arrays:
            return arrays
    raise ValueError(f"{path} must hold a tensor or a dictionary of tensors, got {type(content).__name__}.")


def _to_numpy(x: torch.Tensor) -> np.ndarray:
    x = x.detach().to_dense() if x.layout != torch.strided else x.detach()
    return (x.float() if x.dtype == torch.bfloat16 else x).numpy()


_READERS: dict[str, Callable[[Path], Any]] = {
    ".npy": _read_archive,
    ".npz": _read_archive,
    ".pt": _read_torch,
    **dict.fromkeys(HDF5_ENDINGS, read_hdf5),
}


def _choose(path: Path, arrays: dict[str, Any], key: str | None, names: dict[str, str | None]) -> Table:
    """The examples, and what else has a name, given or usual."""
    for name in (key, *names.values()):
        if name is not None and name not in arrays:
            raise ValueError(f"{path} has no {name}: its keys are {', '.join(arrays)}.")
    taken: list[str | None] = [key, *names.values()]
    found = {part: name or (part if part in arrays and part not in taken else None) for part, name in names.items()}
    if key is None:
        others = [name for name in arrays if name not in found.values()]
        if "x" not in others and len(others) != 1:
            raise ValueError(f"{path} has no x: give one of its keys, {', '.join(arrays) or 'none'}, as key.")
        key = "x" if "x" in others else others[0]
    return Table(arrays[key], **{part: None if name is None else _held(arrays[name]) for part, name in found.items()})


def _held(x: Any) -> Any:
    return x.read() if isinstance(x, HDF5Array) else x


def _check_labels(path: Path, table: Table) -> Table:
    y = table.y
    if y is None:
        return table
    if y.shape != (len(table.x),):
        raise ValueError(f"Labels in {path} must have the shape ({len(table.x)},), one an example, got {y.shape}.")
    if y.dtype.kind not in "biufUS" or (y.dtype.kind == "f" and not np.array_equal(y, np.round(y), equal_nan=True)):
        raise ValueError(f"Labels in {path} must be classes, whole numbers or names, got {y.dtype}.")
    return table


def _check_ids(path: Path, table: Table) -> Table:
    ids = table.ids
    if ids is not None and (ids.shape != (len(table.x),) or ids.dtype.kind not in "iuUS"):
        raise ValueError(
            f"Ids in {path} must be names or whole numbers of the shape ({len(table.x)},), one an example, "
            f"got {ids.dtype} of shape {ids.shape}."
        )
    return table if ids is None or ids.dtype.kind != "S" else table._replace(ids=ids.astype("U"))
