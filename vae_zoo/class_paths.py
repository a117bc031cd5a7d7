"""Dotted paths of classes in plain data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

PATH = r"[^\W\d]\w*(?:\.[^\W\d]\w*)+"
"""A dotted path."""

LOCAL = "<locals>"
"""Part of the path of what is defined inside a function."""


def class_paths(value: Any) -> Iterator[Any]:
    """Whatever stands under ``class_path`` or ``_class_path`` in plain data."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in ("class_path", "_class_path"):
                yield item
            else:
                yield from class_paths(item)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for item in value:
            yield from class_paths(item)
