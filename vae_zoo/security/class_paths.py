"""Dotted paths of classes in plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PATH = r"[^\W\d]\w*(?:\.[^\W\d]\w*)+"
"""A dotted path."""

LOCAL = "<locals>"
"""Part of the path of objects defined inside a function."""


def class_paths(value: Any) -> Iterator[Any]:
    """All values of ``class_path`` or ``_class_path`` in plain data."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in ("class_path", "_class_path"):
                yield item
            else:
                yield from class_paths(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from class_paths(item)


def is_lost(path: Any, cls: type) -> bool:
    """Whether a path has the name of this class, but cannot be used to import it.

    This is the case for classes defined inside a function, in a script or in a notebook.
    """
    if not isinstance(path, str):
        return False
    module, _, name = path.rpartition(".")
    return name == cls.__name__ and (LOCAL in module or module == "__main__")
