"""Points from which a run can be resumed exactly, and metrics that schedulers and callbacks still need there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer


def exact(trainer: Trainer) -> bool:
    """Whether a run can be resumed exactly from a checkpoint after the current batch.

    It cannot within an accumulated step, since checkpoints do not contain gradients, nor before a validation or the end
    of the epoch, which Lightning would leave out or count twice.
    """
    loop = trainer.fit_loop.epoch_loop
    fetcher: Any = trainer.fit_loop._data_fetcher
    return not (loop._should_accumulate() or loop._num_ready_batches_reached() or loop._should_check_val_fx(fetcher))


def pending(trainer: Trainer) -> dict[str, float]:
    """Metrics that schedulers such as ``ReduceLROnPlateau`` need at the end of the epoch, after the checkpoint."""
    loop = trainer.fit_loop
    current = loop.epoch_progress.current
    if not loop.epoch_loop.batch_progress.is_last_batch or current.completed >= current.ready:
        return {}
    metrics = trainer.callback_metrics
    due = [config for config in _plateaus(trainer) if (trainer.current_epoch + 1) % config.frequency == 0]
    awaited = [config.monitor for config in due if config.monitor in metrics]
    return {str(monitor): float(metrics[str(monitor)]) for monitor in awaited}


def metrics_at_save(trainer: Trainer) -> dict[str, float]:
    """Latest values of all metrics, for callbacks and schedulers; Lightning keeps them only in memory."""
    return {str(name): float(value) for name, value in trainer.callback_metrics.items() if value.numel() == 1}


def remembered(checkpoint: dict[str, Any], key: str) -> dict[str, float]:
    """Metrics in a checkpoint, by name.

    Raises:
        ValueError: If they are invalid.
    """
    try:
        return {str(name): float(value) for name, value in checkpoint.get(key, {}).items()}
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"the checkpoint is damaged: its {key} are not what a fit writes.") from None


def restore(trainer: Trainer, seen: dict[str, float]) -> None:
    """Restore the metrics at the time of the checkpoint, until there are newer ones."""
    trainer.callback_metrics.update({name: torch.tensor(value) for name, value in seen.items()})


def continue_files(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Have loggers that write a file begin it with the rows that the previous run had logged up to the checkpoint."""
    path, step = Path(str(trainer.ckpt_path)), int(checkpoint.get("global_step", 0))
    for logger in trainer.loggers:
        if hasattr(logger, "continue_from"):
            logger.continue_from([path.parents[1], path.parent] if len(path.parts) > 2 else [path.parent], step)


def step_plateau_schedulers(trainer: Trainer, metrics: dict[str, float]) -> None:
    """Step schedulers with the metrics that they have missed."""
    for config in _plateaus(trainer):
        if config.monitor in metrics:
            value = torch.tensor(metrics[str(config.monitor)])
            trainer.lightning_module.lr_scheduler_step(config.scheduler, value)


def _plateaus(trainer: Trainer) -> list[Any]:
    every = trainer.lr_scheduler_configs
    return [config for config in every if config.reduce_on_plateau and config.interval == "epoch"]
