"""Two processes of one run, forked from this one, which has imported everything, and set up as torchrun would."""

from __future__ import annotations

import faulthandler
import gc
import multiprocessing
import os
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

# The first backward pass starts a thread for each device, after which no fork can run one. Tracing a model adds a CUDA
# device where there is none, so this pass comes before all tests.
torch.ones((), requires_grad=True).backward()


class Ranks:
    """Runs a function of (rank, *args) in two processes.

    Args:
        folder: Where they work, and where what they print on stderr is kept.
        function: What they do; it gives 0, None or raises.
        args: Its further arguments.
        store: Whether to be what torchrun is to them: their environment, and the store at which they meet.
    """

    def __init__(self, folder: Path, function: Callable[..., Any], *args: Any, store: bool = True) -> None:
        self.folder = folder
        self.store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if store else None
        context = multiprocessing.get_context("fork")
        self.processes = [context.Process(target=self._work, args=(rank, function, args)) for rank in (0, 1)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forks where there are threads
            for process in self.processes:
                process.start()

    def _work(self, rank: int, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        gc.freeze()  # what the first process has left, a store and its thread, is not for this one to clear up
        faulthandler.enable()
        os.dup2(os.open(self.folder / f"stderr{rank}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
        os.chdir(self.folder)
        warnings.simplefilter("ignore")
        if self.store is not None:
            own = {"RANK": rank, "LOCAL_RANK": rank, "GROUP_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
            own |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": self.store.port, "TORCHELASTIC_RUN_ID": "tests"}
            os.environ.update(
                {key: str(value) for key, value in (own | {"TORCHELASTIC_USE_AGENT_STORE": True}).items()}
            )
        try:
            function(rank, *args)
        except Exception:
            os.write(2, traceback.format_exc().encode())
            os._exit(1)
        except SystemExit as stopped:
            os._exit(int(stopped.code or 0))
        os._exit(0)

    @property
    def pids(self) -> list[int]:
        return [int(process.pid or 0) for process in self.processes]

    def said(self) -> list[str]:
        """Lines on stderr of both."""
        texts = [(self.folder / f"stderr{rank}").read_text() for rank in (0, 1)]
        return [line for text in texts for line in text.splitlines() if line.strip()]

    def wait_for(self, there: Callable[[], bool], seconds: float = 120.0) -> None:
        """Until something is so, while both run."""
        until = time.monotonic() + seconds
        while not there():
            assert all(process.is_alive() for process in self.processes), self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.01)

    def codes(self, seconds: float = 120.0) -> list[int | None]:
        """Exit codes of both, once they have ended; None for one that has not."""
        until = time.monotonic() + seconds
        for process in self.processes:
            process.join(max(0.0, until - time.monotonic()))
        return [process.exitcode for process in self.processes]


@contextmanager
def ranks(folder: Path, function: Callable[..., Any], *args: Any, store: bool = True) -> Iterator[Ranks]:
    """Two processes, which are gone in the end."""
    running = Ranks(folder, function, *args, store=store)
    try:
        yield running
    finally:
        for process in running.processes:
            if process.is_alive():
                process.kill()
            process.join()
