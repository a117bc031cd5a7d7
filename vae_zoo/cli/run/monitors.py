"""What a run is told to watch, against what it will log."""

from __future__ import annotations

import re
from typing import Any

from vae_zoo.cli.errors import nearest

_LATE = {"val/active_units", "val/informative_units", "epoch", "step"}
"""What is logged, but not by the validation before the training."""


def check_monitors(trainer: Any, model: Any) -> None:
    """Refuse a monitor that nothing logs before an epoch is spent on finding out.

    What classes of others log in training is not known: of their runs only ``val/…`` is checked.

    Args:
        trainer: Trainer, after its sanity check.
        model: The model.

    Raises:
        ValueError: If a callback or the scheduler watches what is not there.
    """
    validated = set(trainer.callback_metrics) | {
        name for callback in trainer.callbacks for name in getattr(callback, "val_curves", ())
    }
    trained = {name.replace("val/", "train/", 1) for name in validated}
    known, closed = sorted(validated | _LATE | trained), _closed(trainer, model)
    for watcher, monitor in _watched(trainer):
        if monitor not in known and (closed or monitor.startswith("val/")):
            there = nearest(monitor, known) or f": there are {', '.join(sorted(validated))}"
            raise ValueError(f"{watcher} monitors {monitor}, which nothing logs{there.rstrip('?')}.")


def _watched(trainer: Any) -> list[tuple[str, str]]:
    found = [(type(callback).__name__, getattr(callback, "monitor", None)) for callback in trainer.callbacks]
    for callback in trainer.checkpoint_callbacks:
        name = getattr(callback, "filename", None) or ""
        found += [(f"the file name {name}", field) for field in re.findall(r"\{([^:}]+)", name)]
    for config in trainer.lr_scheduler_configs:
        if config.reduce_on_plateau:
            found.append((type(config.scheduler).__name__, config.monitor))
    return [(watcher, monitor) for watcher, monitor in found if isinstance(monitor, str)]


def _closed(trainer: Any, model: Any) -> bool:
    """Whether everything that may log is the zoo's or Lightning's."""
    parts = [model, *trainer.callbacks]
    return all(type(part).__module__.split(".")[0] in ("vae_zoo", "lightning") for part in parts)
