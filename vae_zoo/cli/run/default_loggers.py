"""The loggers of a run."""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace

from vae_zoo.cli.run.wandb_flags import LOGGER

PATH = "lightning.pytorch.loggers."
FILE = "vae_zoo.loggers.MetricsFile"
OURS = {
    f"{PATH}WandbLogger": LOGGER,
    f"{PATH}wandb.WandbLogger": LOGGER,
    f"{PATH}CSVLogger": FILE,
    f"{PATH}csv_logs.CSVLogger": FILE,
}
"""Replacements of Lightning's loggers."""
IN_FILES = (FILE, f"{PATH}TensorBoardLogger", f"{PATH}tensorboard.TensorBoardLogger")
MLFLOW = "sqlite:///mlflow.db"
"""MLflow's own default. That of Lightning's logger is a folder of files, which recent releases of MLflow refuse."""


def loggers_of(given: Any, folder: str, *, fits: bool) -> Any:
    """The requested loggers, with a file of metrics in any case.

    Lightning's loggers of Weights & Biases and of files are replaced by fault-tolerant ones. MLflow without a given
    server uses the database that ``mlflow ui`` opens.

    Args:
        given: Loggers of the configuration.
        folder: Folder of files.
        fits: Whether the run is a fit.
    """
    files = [_logger(name, folder) for name in ["CSVLogger", *(["TensorBoardLogger"] if fits else [])]]
    if given in (None, True):
        return files
    chosen = given if isinstance(given, list) else [given]
    for logger in chosen:
        if (path := getattr(logger, "class_path", "")) in OURS:
            logger.class_path = OURS[path]
        if path in (f"{PATH}MLFlowLogger", f"{PATH}mlflow.MLFlowLogger"):
            logger.init_args.tracking_uri = logger.init_args.get("tracking_uri") or MLFLOW
    paths = [getattr(logger, "class_path", "") for logger in chosen]
    return given if set(paths) & {*IN_FILES, ""} else [*chosen, files[0]]


def _logger(name: str, folder: str) -> Namespace:
    path = f"{PATH}{name}"
    return Namespace(class_path=OURS.get(path, path), init_args=Namespace(save_dir=folder, name="", version=""))
