"""Models from checkpoints."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from vae_zoo.checkpoints import DamagedCheckpointError, verify
from vae_zoo.models import Autoencoder


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, as plain data and tensors: nothing in it is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint, a damaged one, or not one of vae_zoo.
    """
    path = Path(path)
    verify(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise DamagedCheckpointError(
            f"{path} is no checkpoint, or holds more than plain data: torch refuses it."
        ) from error
    if not isinstance(checkpoint, dict) or "vae_zoo" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of vae_zoo: it names no model.")
    return checkpoint


def load(path: str | Path) -> Autoencoder:
    """The model of a checkpoint, in evaluation mode, whatever its class.

    A class outside vae_zoo is found if its module has been imported, or is a module of vae_zoo.

    Args:
        path: A checkpoint that a fit has written.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint of vae_zoo.

    Example:
        >>> model = vae_zoo.load("model.ckpt")  # doctest: +SKIP
    """
    class_path = read(path)["vae_zoo"]["model"]["class_path"]
    if class_path.split(".")[0] == "vae_zoo":
        importlib.import_module(class_path.rpartition(".")[0])
    return Autoencoder.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
