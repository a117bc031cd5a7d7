"""What the index of a folder of shards may say, which is read before any of them."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

_FORMATS = {"numpy", "no_header_numpy", "tensor", "no_header_tensor", "int", "float", "bool", "str", "bytes"}
_FORMATS |= {"jpeg", "jpeg_array"}
_CONTAINERS = {None, "builtins.dict", "builtins.list", "builtins.tuple", "collections.OrderedDict"}


def check_index(folder: Path) -> None:
    """Refuse shards whose samples would run code as they are read, or that lie elsewhere.

    Raises:
        ValueError: If the index of the shards is damaged, or names such samples or files.
    """
    path = folder / "index.json"
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        names = [chunk["filename"] for chunk in index["chunks"]]
        formats = {str(name).partition(":")[0] for name in index["config"]["data_format"]} - _FORMATS
        spec = index["config"]["data_spec"]
        if spec is not None and not _is_plain(json.loads(spec)[1]):
            formats.add("classes")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or no index of shards.") from error
    if formats:
        raise ValueError(f"{path}: to read samples of {min(formats)} may run code: shards hold arrays and numbers.")
    if strange := [name for name in names if PurePath(str(name)).name != name]:
        raise ValueError(f"{path}: the shard {strange[0]} is not in the folder of its index.")


def _is_plain(spec: Any) -> bool:
    """Whether a sample is of dictionaries and lists; anything else is imported by the name that is given for it."""
    keys = json.loads(spec["context"]) if isinstance(spec["context"], str) else spec["context"]
    named = keys is None or (isinstance(keys, list) and all(isinstance(key, (str, int)) for key in keys))
    return spec["type"] in _CONTAINERS and named and all(map(_is_plain, spec["children_spec"]))
