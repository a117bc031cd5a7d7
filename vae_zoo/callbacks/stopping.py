"""Signals that ask a fit to end, heard but not obeyed until it can."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

from lightning.pytorch import Trainer

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
    """The end of a fit that a signal has stopped: exit code 143 of SIGTERM, 130 of SIGINT.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class Listener:
    """Keeps the first of SIGTERM and SIGINT for later; the second ends the process at once."""

    def __init__(self) -> None:
        self.signum = 0
        self._listening = False
        self._before: dict[int, Any] = {}

    def start(self) -> None:
        """Listen from now on; does nothing outside of the main thread."""
        self.signum, self._listening = 0, True
        for signum in SIGNALS:
            try:
                before = signal.signal(signum, self._hear)
            except ValueError:
                self._listening = False
                return
            self._before[signum] = before

    def take_over(self, trainer: Trainer) -> None:
        """Put Lightning's handler of SIGTERM aside, which ends a run with exit code 0, and take what it has heard."""
        if self._listening:
            connector = trainer._signal_connector
            if connector.received_sigterm:
                self.signum, connector.received_sigterm = signal.SIGTERM, False
            signal.signal(signal.SIGTERM, self._hear)

    def asked(self, trainer: Trainer) -> bool:
        """Whether this process, or another of the run, is asked to end."""
        if not self._listening:
            return False
        heard = self.signum > 0
        return trainer.strategy.reduce_boolean_decision(heard, all=False) if trainer.world_size > 1 else heard

    def stop(self) -> None:
        """Leave signals to whoever had them before."""
        self._listening = False
        for signum, before in self._before.items():
            if signal.getsignal(signum) == self._hear:
                signal.signal(signum, before)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        before = self._before.get(signum)
        if self._listening and not self.signum:
            self.signum = signum
        elif not self._listening and callable(before):  # Lightning puts this back after an exception
            before(signum, frame)
        else:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
