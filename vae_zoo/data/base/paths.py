"""Folders of data files and caches."""

from __future__ import annotations

import os
from pathlib import Path


def data_root(root: str | None = None) -> Path:
    """The folder of data files: ``root``, or else ``$VAE_ZOO_DATA``, or else ``vae_zoo`` in the user's cache.

    Args:
        root: A folder, or None.
    """
    if root is None:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        root = os.environ.get("VAE_ZOO_DATA") or os.path.join(cache, "vae_zoo")
    return Path(root).expanduser()


def cache_root() -> Path:
    """The folder of processed data: ``$VAE_ZOO_CACHE``, or else ``cache`` in the folder of data files."""
    given = os.environ.get("VAE_ZOO_CACHE")
    return Path(given).expanduser() if given else data_root() / "cache"
