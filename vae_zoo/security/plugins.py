"""Plug-ins: packages whose classes have short names."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import EntryPoint, distributions

PLUGINS = "vae_zoo.plugins"
"""Entry points of these packages."""


def plugins() -> list[EntryPoint]:
    """Plug-ins of installed packages; those in the working folder are ignored."""
    return _plugins(tuple(folder for folder in sys.path if folder))


@cache
def _plugins(folders: tuple[str, ...]) -> list[EntryPoint]:
    found: dict[tuple[str, str], EntryPoint] = {}
    for distribution in distributions(path=list(folders)):
        for entry in distribution.entry_points:
            if entry.group == PLUGINS:
                found.setdefault((entry.name, entry.value), entry)
    return list(found.values())
