"""Lightning's launcher of one process per device, with a watch over them from the start."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from lightning.fabric.utilities.distributed import _set_num_threads_if_needed
from lightning.pytorch import Trainer
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher

from vae_zoo.callbacks import RankWatch
from vae_zoo.cli.run.processes import ADDRESS
from vae_zoo.training import ranks


class Launcher(_SubprocessScriptLauncher):
    """Starts processes that connect to this one, instead of polling every five seconds whether they live.

    Args:
        timeout: Seconds without a sign of life after which a process is lost.
        args: Arguments of Lightning's launcher.
    """

    def __init__(self, timeout: float, *args: Any) -> None:
        super().__init__(*args)
        self.timeout = timeout

    def launch(self, function: Callable, *args: Any, trainer: Trainer | None = None, **kwargs: Any) -> Any:
        external = self.cluster_environment.creates_processes_externally
        if external or self.num_nodes > 1 or self.num_processes < 2 or ranks.current is not None:
            return super().launch(function, *args, trainer=trainer, **kwargs)
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=1)
        ranks.current = watch = ranks.Watch(0, self.num_processes, self.timeout, self._cause)
        os.environ[ADDRESS] = f"{self.timeout}:{watch.listen()}"
        try:
            self._call_children_scripts()
        finally:
            del os.environ[ADDRESS]
        for rank, process in enumerate(self.procs, 1):
            watch.peers[rank].pid, watch.peers[rank].host = process.pid, socket.gethostname()
        _set_num_threads_if_needed(self.num_processes)
        return function(*args, **kwargs)

    def _cause(self, rank: int) -> str:
        code = self.procs[rank - 1].poll()
        if code is None:
            return "is gone"
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def watch_over(trainer: Trainer) -> None:
    """Have a trainer start its processes with :class:`Launcher`, if it starts any."""
    strategy: Any = trainer.strategy
    watches = [callback for callback in trainer.callbacks if isinstance(callback, RankWatch)]  # type: ignore[attr-defined]
    if watches and type(strategy.launcher) is _SubprocessScriptLauncher:
        launcher = strategy.launcher
        strategy._launcher = Launcher(
            watches[0].timeout, launcher.cluster_environment, launcher.num_processes, launcher.num_nodes
        )
