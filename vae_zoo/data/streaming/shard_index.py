"""Checks of the index of a folder of shards, and of the shards against it, before any sample is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np

_FORMATS = {"numpy", "no_header_numpy", "tensor", "no_header_tensor", "int", "float", "bool", "str", "bytes"}
_FORMATS |= {"jpeg", "jpeg_array"}
_CONTAINERS = {None, "builtins.dict", "builtins.list", "builtins.tuple", "collections.OrderedDict"}
_LOADERS = {None, "PyTreeLoader"}
_WORD = np.dtype("<u4")  # of which a shard has the number of its samples, and where each begins and the last ends


def check_index(folder: Path, *, local: bool) -> None:
    """Refuse shards whose samples would run code when read, that lie elsewhere, or that do not match their index.

    Args:
        folder: Folder of the index.
        local: Whether the shards are in the folder too, rather than still to be copied.

    Raises:
        ValueError: If the index is damaged or names such samples or files, or if a shard is damaged.
    """
    path = folder / "index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        chunks, config = index["chunks"], index["config"]
        names = [chunk["filename"] for chunk in chunks]
        formats = [str(name).partition(":")[0] for name in config["data_format"]]
        spec = json.loads(config["data_spec"])[1]
        leaves = _num_leaves(spec)
        sound = isinstance(config, Mapping) and isinstance(config["data_format"], list) and bool(names)
    except (ValueError, LookupError, TypeError, RecursionError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or no index of shards.") from error
    if strange := sorted({*formats} - _FORMATS) or ([] if leaves is not None else ["classes"]):
        raise ValueError(f"{path}: to read samples of {strange[0]} may run code: shards hold arrays and numbers.")
    if not sound or leaves != len(formats) or not all(_is_number(chunk.get("chunk_size")) for chunk in chunks):
        raise ValueError(f"{path} is damaged: its numbers of samples, or their formats, are invalid.")
    if config.get("encryption") or config.get("item_loader") not in _LOADERS or "format" in config:
        raise ValueError(f"{path}: these shards are encrypted, or not of samples as write_shards writes them.")
    if elsewhere := [name for name in names if PurePath(str(name)).name != name or not isinstance(name, str)]:
        raise ValueError(f"{path}: the shard {elsewhere[0]} is not in the folder of its index.")
    if len({*names}) < len(names):
        raise ValueError(f"{path} is damaged: it names a shard twice.")
    if local and not config.get("compression"):
        for chunk in chunks:
            _check_shard(folder / chunk["filename"], chunk)


def _check_shard(path: Path, chunk: Mapping[str, Any]) -> None:
    """Compare the header of a shard with the index and with the size of the file."""
    if not path.is_file():
        raise ValueError(f"{path} is not there, although its index names it.")
    size, num = path.stat().st_size, chunk["chunk_size"]
    if size != chunk.get("chunk_bytes") or size < _WORD.itemsize * (num + 2):
        raise ValueError(f"{path} is of {size} bytes, which does not match its index: it is damaged or torn.")
    starts = np.fromfile(path, _WORD, num + 2).astype(np.int64)
    if starts[0] != num:
        raise ValueError(f"{path} holds {starts[0]} samples, {num} according to its index.")
    if starts[1] != _WORD.itemsize * (num + 2) or starts[-1] > size or (np.diff(starts[1:]) < 0).any():
        raise ValueError(f"{path} is damaged: its samples do not lie one after another.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _num_leaves(spec: Any) -> int | None:
    """Number of values in a sample of dictionaries and lists; None for anything else, which is imported by its name."""
    keys = json.loads(spec["context"]) if isinstance(spec["context"], str) else spec["context"]
    named = keys is None or (isinstance(keys, list) and all(isinstance(key, (str, int)) for key in keys))
    if spec["type"] not in _CONTAINERS or not named:
        return None
    children = [_num_leaves(child) for child in spec["children_spec"]]
    if spec["type"] is None:
        return 1
    return None if None in children else sum(child for child in children if child)
