"""The folder of a run, and pictures in files and loggers."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from weakref import WeakSet

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from vae_zoo.callbacks.pictures import drawing
from vae_zoo.callbacks.pictures.labelled import Picture
from vae_zoo.callbacks.pictures.themes import Format

_refused: WeakSet[Any] = WeakSet()
"""Loggers that failed to take a picture, and get no more."""


def output_folder(trainer: Trainer) -> Path:
    """Folder of the run: that of the first logger if it has one on disk, otherwise the trainer's root folder."""
    first = trainer.loggers[0] if trainer.loggers else None
    return Path(first.log_dir if isinstance(first, (CSVLogger, TensorBoardLogger)) else trainer.default_root_dir)


def save_picture(trainer: Trainer, name: str, picture: Picture | Tensor, format: Format = "png") -> Path:
    """Write a picture to ``images/<name>_<epoch>.png``, and show its pixels in loggers that can.

    Args:
        trainer: The trainer.
        name: Name of the picture.
        picture: The picture, or its pixels, (3, H, W) in [0, 1].
        format: Format of the file; pixels are always written as png.
    """
    epochs = trainer.current_epoch + (not trainer.fit_loop.done)
    kind = format if isinstance(picture, Picture) else "png"
    path = drawing.save(picture, output_folder(trainer) / "images" / f"{name}_{epochs:04d}.{kind}")
    pixels = picture.pixels() if isinstance(picture, Picture) else picture
    for logger in trainer.loggers:
        if logger in _refused:
            continue
        try:
            log_picture(logger, name, pixels, path, trainer.global_step)
        except Exception as error:  # of a library or a server of others: no reason to end a run
            _refused.add(logger)
            why = " ".join(f"{type(error).__name__}: {error}".split())[:150]
            rank_zero_warn(f"{type(logger).__name__} does not take pictures, which are in {path.parent}: {why}")
    return path


def log_picture(logger: Any, name: str, picture: Tensor, path: Path, step: int) -> None:
    """Log a picture to a logger that supports it; others are ignored.

    Args:
        logger: A logger of Lightning's, or one like it.
        name: Name of the picture.
        picture: The picture, (3, H, W) in [0, 1].
        path: Its file.
        step: Steps of the optimizer so far.
    """
    if hasattr(logger, "log_image"):  # Weights & Biases
        logger.log_image(key=name, images=[picture], step=step)
        return
    experiment: Any = getattr(logger, "experiment", None)
    if hasattr(experiment, "add_image"):  # TensorBoard
        experiment.add_image(name, picture, step)
    elif hasattr(experiment, "log_image"):
        pixels = (picture.permute(1, 2, 0) * 255).round().byte().numpy()
        if (run := getattr(logger, "run_id", None)) is not None:  # MLflow, whose client serves any run
            experiment.log_image(run, pixels, key=name, step=step)
        else:  # Comet
            experiment.log_image(pixels, name=name, step=step)
    elif hasattr(logger, "run") and hasattr(experiment, "__getitem__"):  # Neptune
        experiment[f"images/{path.stem}"].upload(str(path))
