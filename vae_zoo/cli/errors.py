"""A user's mistake ends in one line and exit code 2."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WIDTH = 200


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn errors that a user can cause into one line on stderr and exit code 2.

    Errors that only a mistake in code raises pass. ``VAE_ZOO_TRACEBACK=1`` lets all pass.
    """
    try:
        yield
    except Exception as error:
        if os.environ.get("VAE_ZOO_TRACEBACK") or not _is_users(error):
            raise
        print(f"vae-zoo: error: {one_line(root_cause(error))}", file=sys.stderr)
        sys.exit(2)


def _is_users(error: BaseException) -> bool:
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"ValueError", "TypeError", "OSError", "ImportError", "MisconfigurationException", "ArgumentError"})


def root_cause(error: BaseException) -> BaseException:
    """The error that a chain of errors began with."""
    while (before := error.__cause__ or error.__context__) is not None and not error.__suppress_context__:
        error = before
    return error


def one_line(message: object) -> str:
    """A message as one line, shortened in the middle of nothing that matters."""
    text = " ".join(str(message).split()) or type(message).__name__
    text = re.sub(r"<class '([^']*)'>", r"\1", text)
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 1]}…"
