"""Where a run writes."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def output_folder(trainer: Trainer) -> Path:
    """Folder of the run: that of the first logger where it has one on disk, else the trainer's root folder."""
    first = trainer.loggers[0] if trainer.loggers else None
    return Path(first.log_dir if isinstance(first, (CSVLogger, TensorBoardLogger)) else trainer.default_root_dir)
