"""Termination of the command by signals, with the exit code of a shell and no traceback."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:  # while typing is imported no signal is obeyed yet
    from types import FrameType
    from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_asked = 0
_held = False


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Raise ``SystemExit`` with 130 on SIGINT and 143 on SIGTERM; a second signal ends the process at once.

    The exit code is the same if a library turns the exit into another error or suppresses it.
    Ignored signals stay ignored. Outside the main thread this does nothing.
    """
    global _asked
    before: dict[int, Any] = {}
    try:
        for signum in SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                before[signum] = signal.signal(signum, _hear)
    except ValueError:  # not the main thread
        yield
        return
    _asked = 0
    try:
        try:
            yield
        except Exception:
            exit_if_signalled()
            raise
        exit_if_signalled()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _asked = 0


def exit_if_signalled() -> None:
    """Exit now if a signal has arrived and its exception was lost."""
    if _asked:
        raise SystemExit(128 + _asked) from None


@contextmanager
def deferred() -> Iterator[None]:
    """Defer signals, so that several files are renamed together."""
    global _held
    exit_if_signalled()
    _held = True
    try:
        yield
    finally:
        _held = False
    exit_if_signalled()


def _hear(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    global _asked
    if _asked:
        os._exit(128 + signum)
    _asked = signum
    if not _held:
        raise SystemExit(128 + signum)
