"""Deferred handling of signals that ask a fit to end."""

from __future__ import annotations

import signal
import time
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Trainer

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopped(SystemExit):
    """Raised when a signal has stopped a fit: exit code 143 for SIGTERM, 130 for SIGINT.

    Args:
        signum: The signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(128 + signum)
        self.signum = signum


class Listener:
    """Defers the first SIGTERM or SIGINT; a second one ends the process at once.

    ``signum`` is the signal on which all processes have agreed to end, or 0.
    """

    def __init__(self) -> None:
        self.signum = self._heard = 0
        self._listening = False
        self._before: dict[int, Any] = {}
        self._every = self._left = 1  # steps from one agreement to the next, and until the next
        self._agreed = time.monotonic()

    def start(self) -> None:
        """Listen from now on; does nothing outside of the main thread."""
        self.signum, self._heard, self._listening = 0, 0, True
        for signum in SIGNALS:
            try:
                before = signal.signal(signum, self._hear)
            except ValueError:
                self._listening = False
                return
            self._before[signum] = before

    def take_over(self, trainer: Trainer) -> None:
        """Replace Lightning's handler of SIGTERM, which ends a run with exit code 0, and take over its signals."""
        if self._listening:
            connector = trainer._signal_connector
            if connector.received_sigterm:
                self._heard, connector.received_sigterm = signal.SIGTERM, False
            signal.signal(signal.SIGTERM, self._hear)

    def asked(self, trainer: Trainer, *, now: bool = False) -> bool:
        """Whether this or another process of the run was asked to end; the result is the same in all of them.

        Processes agree about once a second, because each agreement waits for the slowest of them.

        Args:
            trainer: The trainer.
            now: Whether to agree now, regardless of the time since the last agreement.
        """
        if not self._listening:
            return False
        self._left -= 1
        if trainer.world_size == 1:
            self.signum = self._heard
        elif self._left <= 0 or now:
            passed = time.monotonic() - self._agreed
            state = torch.tensor([self._heard, passed], device=trainer.strategy.root_device)
            signum, passed = trainer.strategy.reduce(state, reduce_op="max").tolist()
            self.signum, self._agreed = int(signum), time.monotonic()
            if not now:
                self._every = max(1, min(2 * self._every, int(self._every / max(passed, 1e-3))))
            self._left = self._every
        return self.signum > 0

    def stop(self) -> None:
        """Restore the previous signal handlers."""
        self._listening = False
        for signum, before in self._before.items():
            if signal.getsignal(signum) == self._hear:
                signal.signal(signum, before)

    def _hear(self, signum: int, frame: FrameType | None) -> None:
        before = self._before.get(signum)
        if self._listening and not self._heard:
            self._heard = signum
        elif not self._listening and callable(before):  # Lightning puts this back after an exception
            before(signum, frame)
        else:
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)
