"""Where a run writes, and where its pictures go."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor

from vae_zoo.callbacks import drawing


def output_folder(trainer: Trainer) -> Path:
    """Folder of the run: that of the first logger where it has one on disk, else the trainer's root folder."""
    first = trainer.loggers[0] if trainer.loggers else None
    return Path(first.log_dir if isinstance(first, (CSVLogger, TensorBoardLogger)) else trainer.default_root_dir)


def keep_picture(trainer: Trainer, name: str, picture: Tensor) -> Path:
    """Write a picture (3, H, W) in [0, 1] to ``images/<name>_<epoch>.png``, and hand it to the loggers that show it."""
    epochs = trainer.current_epoch + (not trainer.fit_loop.done)
    path = drawing.save_png(picture, output_folder(trainer) / "images" / f"{name}_{epochs:04d}.png")
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.add_image(name, picture, trainer.global_step)
        elif hasattr(logger, "log_image"):
            logger.log_image(key=name, images=[picture], step=trainer.global_step)
    return path
