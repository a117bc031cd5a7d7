"""Fits of the command in forked processes, to be killed: a trial costs no import."""

from __future__ import annotations

import mmap
import os
import select
import signal
import struct
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer

from vae_zoo import cli
from vae_zoo.callbacks import BestCheckpoint, LastCheckpoint, NaNGuard
from vae_zoo.checkpoints import files
from vae_zoo.checkpoints.files import CheckpointFiles
from vae_zoo.data import Digits
from vae_zoo.models import Autoencoder, BetaVAE
from vae_zoo.nn import Dense

QUIET = ("samples", "reconstructions", "traversals")
FIT = (
    "fit",
    "--model=BetaVAE",
    "--model.latent_dim=4",
    "--model.encoder.hidden=[256]",
    "--model.decoder.hidden=[256]",
    "--data=Digits",
    "--data.binarization=dynamic",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--trainer.limit_train_batches=8",
    "--last.every_n_train_steps=3",
    *(f"--{name}.every_n_epochs=0" for name in QUIET),
)
"""A fit of 8 steps an epoch that saves every 3 steps and at the end of each epoch, and the best of them as well."""

DATA = Digits(binarization="dynamic")


def command(*args: str) -> Callable[[], None]:
    """The command with further arguments."""
    return lambda: cli.main([*FIT, *args])


def trainer(max_epochs: int) -> Callable[[], None]:
    """The same fit by a Trainer with the parts of the command, which does without its second of parsing."""

    def run() -> None:
        network = partial(Dense, hidden=[256])
        model = BetaVAE(shape=DATA.shape, latent_dim=4, encoder=network, decoder=network)
        Trainer(
            accelerator="cpu",
            max_epochs=max_epochs,
            limit_train_batches=8,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            plugins=[CheckpointFiles()],
            callbacks=[
                NaNGuard(),
                BestCheckpoint(dirpath="checkpoints", monitor="val/elbo", mode="max"),
                LastCheckpoint(dirpath="checkpoints", every_n_train_steps=3),
            ],
        ).fit(model, DATA)

    return run


class Trial:
    """A fit in a process of its own, which says when it enters a save and counts its steps and saves.

    Args:
        folder: Working folder.
        run: What to run.
    """

    def __init__(self, folder: Path, run: Callable[[], None]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._counts = mmap.mmap(-1, 8)
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            os._exit(self._child(run, write))
        os.close(write)

    @property
    def steps(self) -> int:
        """Training steps begun."""
        return struct.unpack_from("i", self._counts, 0)[0]

    @property
    def saves(self) -> int:
        """Saves done."""
        return struct.unpack_from("i", self._counts, 4)[0]

    def entered(self, number: int) -> bool:
        """Wait until so many saves have been entered; False if the process ends before."""
        got = 0
        while got < number:
            part = os.read(self._read, number - got)
            if not part:
                return False
            got += len(part)
        return True

    def kill(self, signum: int = signal.SIGKILL) -> None:
        os.kill(self.pid, signum)

    def end(self, seconds: float = 60.0) -> int | None:
        """Exit code, negative of a signal; None if the process is still there after a while, and is killed."""
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            select.select([self._read], [], [], 0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self._read)
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.002)
        self.kill()
        os.waitpid(self.pid, 0)
        return None

    def said(self) -> str:
        return (self.folder / "said.txt").read_text()

    def _child(self, run: Callable[[], None], pipe: int) -> int:
        os.chdir(self.folder)
        said = os.open("said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(said, stream)
        torch.set_num_threads(1)
        files.write = _around(files.write, lambda: os.write(pipe, b"."), lambda: self._count(4))
        step: Any = Autoencoder.training_step
        Autoencoder.training_step = _around(step, lambda: self._count(0), lambda: None)  # type: ignore[method-assign]
        try:
            run()
        except SystemExit as end:
            return int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            return 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
        return 0

    def _count(self, place: int) -> None:
        struct.pack_into("i", self._counts, place, struct.unpack_from("i", self._counts, place)[0] + 1)


def _around(function: Callable[..., Any], before: Callable[[], Any], after: Callable[[], Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        before()
        result = function(*args, **kwargs)
        after()
        return result

    return call


def bad_files(folder: Path) -> list[str]:
    """Files at the name of a checkpoint that are not a whole one."""
    bad = []
    for path in folder.rglob("*.ckpt"):
        try:
            files.verify(path)
            torch.load(path, weights_only=True)
        except Exception as error:
            bad.append(f"{path.name}: {error}")
    return bad


def newest(folder: Path) -> Path | None:
    """The last checkpoint that was written in any run of a folder."""
    found = folder.rglob("last.ckpt")
    return max(found, key=lambda path: path.stat().st_mtime, default=None)
