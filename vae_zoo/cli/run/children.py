"""Processes that a command starts: none of them imports from the working folder unasked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vae_zoo

COMMAND = [sys.executable, str(Path(vae_zoo.__file__).with_name("__main__.py"))]
"""The command in a process of its own."""

_CLEAN = "import sys; sys.path[:1] == [''] and sys.path.pop(0); "


@contextmanager
def safe_path() -> Iterator[None]:
    """Have every Python that is started leave the working folder off its path, for as long as it lasts.

    A loader's workers, a compiler's and any helper of a library would find a json.py there before Python's own.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    if sys.version_info < (3, 11):  # which does not know the variable
        _clean_multiprocessing()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("PYTHONSAFEPATH", None)
        else:
            os.environ["PYTHONSAFEPATH"] = before


def _clean_multiprocessing() -> None:
    """Have the processes of multiprocessing, which are ``python -c``, take the working folder off first."""
    from multiprocessing import util

    spawn: Any = util.spawnv_passfds
    if not hasattr(spawn, "cleaned"):

        def cleaned(path: Any, args: Sequence[Any], passfds: Any) -> Any:
            return spawn(path, clean(args), passfds)

        cleaned.cleaned = True  # type: ignore[attr-defined]
        util.spawnv_passfds = cleaned


def clean(args: Sequence[Any]) -> list[Any]:
    """A command whose program, where it is ``python -c PROGRAM``, takes the working folder off the path first."""
    args = list(args)
    if "-c" in args[:-1]:
        at = args.index("-c") + 1
        args[at] = _CLEAN + args[at]
    return args
