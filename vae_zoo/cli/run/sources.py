"""Whether data are those of the training, and which examples ``predict`` goes through."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from vae_zoo.callbacks import PredictionWriter
from vae_zoo.checkpoints.hyperparameters import import_path, plain
from vae_zoo.cli.run.described import data_of
from vae_zoo.data import DataModule


def are_new(cls: type[DataModule], given: Mapping[str, Any], saved: Mapping[str, Any] | None) -> bool:
    """Whether data come from another source than those of the training.

    Args:
        cls: Class of the data.
        given: Its arguments.
        saved: Data of the training, as plain data; None if unknown.
    """
    if not saved or saved["class_path"] != import_path(cls):
        return True
    before = saved.get("init_args") or {}
    return any(not _same(given.get(name), before.get(name)) for name in cls.sources)


def _same(path: Any, other: Any) -> bool:
    if not (isinstance(path, (str, Path)) and isinstance(other, str)):
        return bool(plain(path) == other)  # a class, or nothing
    return Path(path).expanduser().resolve() == Path(other).expanduser().resolve()


def set_reference(trainer: Trainer, new: bool, saved: Mapping[str, Any], path: Any) -> None:
    """Give a writer of predictions that calibrates the data of the training, if others are predicted.

    Args:
        trainer: The trainer.
        new: Whether other data are predicted.
        saved: Model and data of the training, as plain data.
        path: The checkpoint.

    Raises:
        ValueError: If the checkpoint does not name its data.
    """
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    for writer in callbacks:
        if new and isinstance(writer, PredictionWriter) and writer.calibrate:
            if not saved.get("data"):
                raise ValueError(f"calibrate needs the validation data of the training, which {path} does not name.")
            writer.reference = data_of(dict(saved["data"]), path)
            writer.reference.adopt(saved["model"]["init_args"])


def described(trainer: Trainer, data: DataModule) -> str:
    """How many examples were predicted of how many, and of which split."""
    callbacks: Any = trainer.callbacks  # type: ignore[attr-defined]
    num = sum(callback.num_rows for callback in callbacks if isinstance(callback, PredictionWriter))
    total = data.num_rows
    if total is None and data.predict_split == "all":
        loader: Any = trainer.predict_dataloaders
        total = len(loader.rows)
    among = "" if total is None else f" of {total}"
    return f"predict: {num}{among} examples, split {data.predict_split}"


def warn_of_other_rows(data: Any, saved: Mapping[str, Any]) -> None:
    """Say that the data are no longer those of the training, whose random splits were others."""
    known = saved.get("num_train")
    if known is None or getattr(rank_zero_only, "rank", None):
        return
    if getattr(data, "bad_files", "error") == "skip":  # how many are left is only known when all have been read
        return
    try:
        num = data.num_train
    except Exception:  # the run says what is wrong with them
        return
    if num != known:
        print(
            f"warning: the training split has {num} examples, and the model was fitted to {known}: if splits are drawn "
            "at random, examples that it was fitted to are among those it is tested on",
            file=sys.stderr,
        )
