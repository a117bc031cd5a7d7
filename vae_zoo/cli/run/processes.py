"""Processes that the command starts for further devices, which start and end together."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ADDRESS = "VAE_ZOO_RANKS"
"""Where a process finds the one that has started it, in the environment."""


@contextmanager
def together() -> Iterator[None]:
    """Join the process that started this one, if any, and end with the others."""
    if ADDRESS in os.environ:
        _join(os.environ.pop(ADDRESS))
    try:
        yield
    except BaseException as error:
        _leave("fail", error)  # its connection stays until the error is printed
        raise
    _leave("finish")


def _leave(how: str, *args: BaseException) -> None:
    ranks: Any = sys.modules.get("vae_zoo.training.ranks")
    if ranks is not None and ranks.current is not None:
        getattr(ranks.current, how)(*args)
        ranks.current = None


def _join(address: str) -> None:
    from vae_zoo.training import ranks

    timeout, _, address = address.partition(":")
    watch = ranks.Watch(int(os.environ["LOCAL_RANK"]), int(os.environ["WORLD_SIZE"]), float(timeout))
    try:
        watch.connect(address)
    except (OSError, ValueError):
        sys.exit(1)  # the one that has started this process is gone already
    ranks.current = watch
