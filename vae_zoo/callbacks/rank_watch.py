"""Processes that end together."""

from __future__ import annotations

import math
import signal
import socket
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from vae_zoo.training import ranks
from vae_zoo.training.ranks import Watch


class RankWatch(Callback):
    """Ends a run on several devices everywhere, with one line, if one of its processes dies, is stopped or hangs.

    Each process shows the first one a sign of life every second, from a thread of its own, and how far its training
    has come: neither a step that is long for all, a long evaluation, nor one that only one process does is taken for a
    loss. A process that dies is missed within seconds, one that is stopped after ``timeout``, and so is one that stays
    in a training step which another one has left; in the first step, where it may compile, after ten times as long.
    With one process there is nothing to watch, and nothing is done.

    Args:
        timeout: Seconds without a sign of life after which a process is lost.

    Raises:
        ValueError: If timeout is less than 1 or not finite.
    """

    def __init__(self, *, timeout: float = 30.0) -> None:
        if not (timeout >= 1 and math.isfinite(timeout)):
            raise ValueError(f"timeout must be at least 1 second and finite, got {timeout}.")
        self.timeout = timeout
        self._own = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        if trainer.world_size < 2 or not torch.distributed.is_initialized():
            return
        if ranks.current is None:
            self._start(trainer)
        _obey_sigterm(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        self._mark(inside=True)

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Any) -> None:  # noqa: ARG002
        self._mark(inside=True)

    def on_train_batch_end(self, *_: Any) -> None:
        self._mark(inside=False)

    @staticmethod
    def _mark(*, inside: bool) -> None:
        if ranks.current is not None:
            ranks.current.mark(inside=inside)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        if ranks.current is not None:
            ranks.current.fail(exception)
            self._forget()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        if self._own and ranks.current is not None:
            ranks.current.finish()
            self._forget()

    def _start(self, trainer: Trainer) -> None:
        """Connect processes that something else has started: torchrun, SLURM, a script of the user's own."""
        several = trainer.num_nodes > 1
        watch = Watch(trainer.global_rank, trainer.world_size, self.timeout)
        address = watch.listen("" if several else "127.0.0.1") if trainer.global_rank == 0 else ""
        address, host = trainer.strategy.broadcast((address, socket.gethostname() if several else "127.0.0.1"))
        connected = True
        if trainer.global_rank:
            try:
                watch.connect(address, host)
            except (OSError, ValueError):
                connected = False
        if trainer.strategy.reduce_boolean_decision(connected, all=True):
            ranks.current, self._own = watch, True
        else:
            rank_zero_warn(f"some processes cannot connect to {host}: the loss of one may leave the others waiting.")
            watch.close()

    def _forget(self) -> None:
        if self._own:
            ranks.current, self._own = None, False


def _obey_sigterm(trainer: Trainer) -> None:
    """End on SIGTERM, unless somebody else listens: Lightning's handler waits for processes that have not heard it."""
    connector: Any = trainer._signal_connector

    def obey(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if connector._original_handlers.get(signum) in (None, signal.SIG_DFL):
            signal.signal(signum, signal.SIG_DFL)
            signal.raise_signal(signum)

    connector._sigterm_notifier_fn = obey
