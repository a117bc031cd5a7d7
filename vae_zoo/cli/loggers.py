"""The loggers of a run."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace

from vae_zoo.cli.wandb_flags import LOGGER

PATH = "lightning.pytorch.loggers."
FILE = "vae_zoo.loggers.MetricsFile"
OURS = {
    f"{PATH}WandbLogger": LOGGER,
    f"{PATH}wandb.WandbLogger": LOGGER,
    f"{PATH}CSVLogger": FILE,
    f"{PATH}csv_logs.CSVLogger": FILE,
}
"""What stands in for Lightning's own."""


def loggers_of(given: Any, folder: str, *, fits: bool) -> Any:
    """The loggers that were asked for, with figures in a file also where only Weights & Biases was.

    Lightning's own logger of Weights & Biases becomes the one that goes on without its server, and its file of metrics
    the one that no kill tears.

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
        if (path := getattr(logger, "class_path", "")) in OURS:
            logger.class_path = OURS[path]
    return [*chosen, files[0]] if all(getattr(logger, "class_path", "") == LOGGER for logger in chosen) else given


def _logger(name: str, folder: str) -> Namespace:
    path = f"{PATH}{name}"
    return Namespace(class_path=OURS.get(path, path), init_args=Namespace(save_dir=folder, name="", version=""))
