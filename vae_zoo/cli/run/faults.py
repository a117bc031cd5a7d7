"""Fault tolerance of fits: limits of training, checkpoints to resume from, messages after signals."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import CheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from vae_zoo.callbacks import LastCheckpoint
from vae_zoo.checkpoints.files import CheckpointFiles, CheckpointWriteError, DamagedCheckpointError, verify
from vae_zoo.security import trust

MAX_EPOCHS = 50

BEGUN = ".begun"
"""A file in the folder of a fit that has not been resumed from another one."""

LAST = Path("checkpoints/last.ckpt")


def set_limits(trainer: Any, args: Sequence[str]) -> None:
    """Set the default limit of a fit, 50 epochs, unless steps or a time are given.

    If a config file has one of ``max_steps`` and ``max_epochs`` and the command line the other, the latter wins.

    Raises:
        ValueError: If both are given in one place, because a resumed run would then stop early.
    """
    steps, epochs = trainer.max_steps, trainer.max_epochs
    if steps not in (None, -1) and epochs not in (None, -1):
        given = {arg.partition("=")[0].rpartition(".")[2] for arg in args if arg.startswith("--trainer.max_")}
        given &= {"max_steps", "max_epochs"}
        if len(given) != 1:
            raise ValueError(f"give trainer.max_steps or trainer.max_epochs, not both, got {steps} and {epochs}.")
        if given == {"max_steps"}:
            trainer.max_epochs = -1
        else:
            trainer.max_steps = -1
    elif epochs is None:
        trainer.max_epochs = -1 if steps not in (None, -1) or trainer.max_time else MAX_EPOCHS


def newest(root: Path, dirpath: str | None = None) -> str:
    """The last checkpoint of the newest fit in a folder, or the newest intact one of that fit if it is damaged.

    Args:
        root: Folder of fits.
        dirpath: Folder of checkpoints if they are elsewhere.

    Returns:
        Its path; empty if there is none, or if the newest fit from the beginning has none yet.

    Raises:
        DamagedCheckpointError: If that fit has no intact checkpoint.
    """
    folder = Path(dirpath) if dirpath else root
    pattern = "last.ckpt" if dirpath else "fit_*/checkpoints/last.ckpt"
    found = sorted(folder.glob(pattern), key=_age)
    begun = [] if dirpath else [mark for mark in root.glob(f"fit_*/{BEGUN}") if not (mark.parent / LAST).exists()]
    if not found or any(_age(mark) > _age(found[-1]) for mark in begun):
        return ""
    last, wrong = found[-1], ""
    others = sorted(last.parent.glob("*.ckpt"), key=_age, reverse=True)
    for path in [last, *(path for path in others if path != last)]:
        try:
            verify(path)
        except DamagedCheckpointError as error:
            wrong = wrong or str(error)
            continue
        if wrong:
            print(f"warning: {wrong.removesuffix('.')}; going on from {path.name} beside it", file=sys.stderr)
        return str(path)
    raise DamagedCheckpointError(f"nothing to resume: {wrong.removesuffix('.')}, and there is no good one beside it.")


def last_of(root: Path, dirpath: str | None, verb: str) -> str | None:
    """Path of ``--ckpt_path last``, or None with a message for a fit without checkpoints so far.

    Raises:
        FileNotFoundError: If there is no checkpoint, and the verb needs one.
        DamagedCheckpointError: If there is no intact one.
    """
    if path := newest(root, dirpath):
        return path
    if verb != "fit":
        raise FileNotFoundError(f"no last.ckpt under {dirpath or root}; give the path of a checkpoint.")
    if not getattr(rank_zero_only, "rank", 0):
        print(f"vae-zoo: nothing to resume yet under {dirpath or root}: a fit from the beginning", file=sys.stderr)
    return None


def _age(path: Path) -> float:
    return path.stat().st_mtime


def with_files(plugins: Any) -> list[Any]:
    """The requested plug-ins, and the one that writes checkpoints unless there is another."""
    plugins = plugins if isinstance(plugins, list) else [plugins] if plugins else []
    return plugins if any(isinstance(plugin, CheckpointIO) for plugin in plugins) else [*plugins, CheckpointFiles()]


def show_how_to_resume(callbacks: Sequence[Callback], config: Path) -> None:
    """Have a run that is stopped by a signal print the command that resumes it."""
    for callback in callbacks:
        if isinstance(callback, LastCheckpoint):
            trusted = "".join(f" --trust {package}" for package in trust.named())
            written = shlex.quote(str(config)).replace("{", "{{").replace("}", "}}")
            callback.resume = f"vae-zoo fit --config {written} --ckpt_path {{path}}{trusted}"


def check_written(trainer: Trainer) -> None:
    """Check that the checkpoints of a fit exist.

    Raises:
        CheckpointWriteError: If one is missing.
    """
    for callback in trainer.checkpoint_callbacks:
        path = getattr(callback, "best_model_path", "")
        if path and "://" not in path and trainer.is_global_zero and not Path(path).is_file():
            raise CheckpointWriteError(f"{path} is gone: something has removed it.")


def had_nothing_to_do(trainer: Trainer, *, trained: bool) -> bool:
    """Whether a fit was resumed after its limit had been reached, with a message.

    Args:
        trainer: The trainer, after the fit.
        trained: Whether it has taken a step.
    """
    if trainer.state.fn != "fit" or trained or trainer.ckpt_path is None:
        return False
    if trainer.is_global_zero:
        limit = f"max_steps {trainer.max_steps}" if trainer.max_epochs == -1 else f"max_epochs {trainer.max_epochs}"
        print(
            f"vae-zoo: nothing to do: {trainer.ckpt_path} has reached trainer.{limit}; give more to go on",
            file=sys.stderr,
        )
    return True
