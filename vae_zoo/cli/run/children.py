"""Child processes, which do not import from the working folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import vae_zoo

COMMAND = [sys.executable, str(Path(vae_zoo.__file__).with_name("__main__.py"))]
"""The command in a separate process."""

_CLEAN = "import sys; sys.path[:1] == [''] and sys.path.pop(0); "


@contextmanager
def safe_path() -> Iterator[None]:
    """Keep the working folder off the path of every Python started in this context.

    Workers of loaders and compilers, and helpers of libraries, would otherwise import a json.py there.
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
    """Have the processes of multiprocessing, which are ``python -c``, remove the working folder from the path first."""
    from multiprocessing import util

    spawn: Any = util.spawnv_passfds
    if not hasattr(spawn, "cleaned"):

        def cleaned(path: Any, args: Sequence[Any], passfds: Any) -> Any:
            return spawn(path, clean(args), passfds)

        cleaned.cleaned = True  # type: ignore[attr-defined]
        util.spawnv_passfds = cleaned


def clean(args: Sequence[Any]) -> list[Any]:
    """A command ``python -c PROGRAM`` with the working folder removed from the path first; others unchanged."""
    args = list(args)
    if "-c" in args[:-1]:
        at = args.index("-c") + 1
        args[at] = _CLEAN + args[at]
    return args
