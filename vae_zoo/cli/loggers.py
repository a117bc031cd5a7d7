"""The loggers of a run."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace

from vae_zoo.cli.wandb_flags import LOGGER

PATH = "lightning.pytorch.loggers."


def loggers_of(given: Any, folder: str, *, fits: bool) -> Any:
    """The loggers that were asked for, with figures in a file also where only Weights & Biases was.

    Lightning's own logger of Weights & Biases becomes the one that goes on without its server.

    Args:
        given: What the configuration holds.
        folder: Where files go.
        fits: Whether the run is a fit.
    """
    files = [_logger(name, folder) for name in ("CSVLogger", "TensorBoardLogger" * fits) if name]
    if given in (None, True):
        return files
    chosen = given if isinstance(given, list) else [given]
    for logger in chosen:
        if getattr(logger, "class_path", "") in (f"{PATH}WandbLogger", f"{PATH}wandb.WandbLogger"):
            logger.class_path = LOGGER
    return [*chosen, files[0]] if all(getattr(logger, "class_path", "") == LOGGER for logger in chosen) else given


def _logger(name: str, folder: str) -> Namespace:
    init = Namespace(save_dir=folder, name="", version="")
    if name == "CSVLogger":
        init.flush_logs_every_n_steps = 1  # else a run that is killed loses up to its last hundred steps, or all
    return Namespace(class_path=f"{PATH}{name}", init_args=init)
