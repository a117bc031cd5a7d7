"""Models from checkpoints, and from folders and repositories that they are shared by."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from vae_zoo.models import Autoencoder
from vae_zoo.pretrained import from_pretrained, push_to_hub, save_pretrained

__all__ = ["from_pretrained", "load", "push_to_hub", "read", "save_pretrained"]


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, as plain data and tensors: nothing in it is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint, or not one of vae_zoo.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: give the path of a .ckpt file.")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint, or a damaged one: torch cannot read it.") from error
    if not isinstance(checkpoint, dict) or "vae_zoo" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of vae_zoo: it names no model.")
    return checkpoint


def load(path: str | Path) -> Autoencoder:
    """The model of a checkpoint, in evaluation mode, whatever its class.

    A class outside vae_zoo is found if its module has been imported, or is a module of vae_zoo.

    Args:
        path: A checkpoint that a fit has written, or a folder of :func:`save_pretrained`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint of vae_zoo.

    Example:
        >>> model = vae_zoo.load("model.ckpt")  # doctest: +SKIP
    """
    if Path(path).is_dir():
        return from_pretrained(path)
    class_path = read(path)["vae_zoo"]["model"]["class_path"]
    if class_path.split(".")[0] == "vae_zoo":
        importlib.import_module(class_path.rpartition(".")[0])
    return Autoencoder.load_from_checkpoint(path, map_location="cpu", weights_only=True).eval()
