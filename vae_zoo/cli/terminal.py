"""What the command prints, and what it keeps the libraries from printing."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

from lightning.pytorch import Trainer

NOISY_WARNINGS = (
    "LeafSpec",
    "smaller than the logging interval",
    "dirpath has changed",
    "infer the batch indices",
    "sync_dist=True",
    "is not supported by the model summary",
)
NOISE = ("litlogger", "litmodels", "LitLogger", "💡", "PU available", "TPU cores", "`Trainer.fit` stopped", "Seed set")


def show(trainer: Trainer) -> None:
    """Say where everything is that a run has written."""
    if not trainer.is_global_zero or getattr(trainer, "fast_dev_run", False):
        return
    paths: dict[str, str | Path] = {}
    if trainer.state.fn == "fit":
        saved = (getattr(callback, "best_model_path", "") for callback in trainer.checkpoint_callbacks)
        paths["checkpoint"] = next(filter(None, saved), "")
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if path := getattr(callback, "path", None):
            paths[callback.name] = path
        paths |= {path.name: path for path in getattr(callback, "paths", ())}
    here = Path.cwd()
    for name, path in paths.items():
        if path:
            print(f"{name:20} {Path(path).relative_to(here) if Path(path).is_relative_to(here) else path}")


def quiet() -> None:
    """Keep advertisements and known noise of the libraries out of the terminal."""
    for message in NOISY_WARNINGS:
        warnings.filterwarnings("ignore", f".*{message}.*")
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.seed"):
        logging.getLogger(name).addFilter(lambda record: not any(text in record.getMessage() for text in NOISE))
