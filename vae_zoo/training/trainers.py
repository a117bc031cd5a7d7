"""Queries that a model makes to the Trainer that runs it."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

from lightning.fabric.utilities.warnings import PossibleUserWarning
from lightning.pytorch import LightningModule

from vae_zoo.checkpoints.hyperparameters import Recorded


def trainer_of(model: LightningModule) -> Any:
    """The Trainer that runs a model; None outside a run."""
    if model.fabric is not None:  # whose place of a trainer answers nothing
        return None
    try:
        return model.trainer
    except RuntimeError:
        return None


def is_ours(data: Any) -> bool:
    """Whether a data module is one of vae_zoo, which knows its splits, and not a user's own of Lightning."""
    return isinstance(data, Recorded) and hasattr(data, "chunks")


def steps_of_epoch(trainer: Any) -> float:
    """Steps of the optimizer in a training epoch; infinity if unknown, as of a stream without a length."""
    batches = trainer.num_training_batches / trainer.accumulate_grad_batches
    return max(1, math.ceil(batches)) if math.isfinite(batches) else math.inf


def num_batches(trainer: Any) -> list[float]:
    """Numbers of batches of the loaders of the running validation or test; infinity if unknown."""
    loop = trainer and trainer._evaluation_loop
    return list(loop.max_batches) if loop and loop._is_sequential else [math.inf]


def is_last_batch(trainer: Any, batch_idx: int, dataloader_idx: int) -> bool:
    """Whether a batch is the last one of its loader, if there are several loaders.

    Its metrics are logged with it, because only then does Lightning know whose they are: at the end of the epoch its
    tables would have those of one loader under every other.
    """
    batches = num_batches(trainer)
    return len(batches) > 1 and not trainer.sanity_checking and batch_idx + 1 == batches[dataloader_idx]


def loader_suffix(trainer: Any, dataloader_idx: int) -> str:
    """The suffix that Lightning adds to metric names if there are several loaders."""
    return f"/dataloader_idx_{dataloader_idx}" if len(num_batches(trainer)) > 1 else ""


def log_same(model: LightningModule, name: str, value: Any, **kwargs: Any) -> None:
    """Log a value of a validation or test that is the same in all processes, without advice to average it over them."""
    if model.trainer.world_size > 1:
        advice = rf"It is recommended to use `self\.log\('{re.escape(name)}'"
        # Each new filter makes Python forget which warnings it has shown: it is set once.
        if all(getattr(entry[1], "pattern", None) != advice for entry in warnings.filters):
            warnings.filterwarnings("ignore", advice, PossibleUserWarning)
    model.log(name, value, **kwargs)
