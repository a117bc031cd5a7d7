"""Models from checkpoints, and from folders and repositories that they are shared by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from vae_zoo import trust as trusted
from vae_zoo.checkpoints import DamagedCheckpointError, verify
from vae_zoo.foreign import check_content, check_file
from vae_zoo.models import Autoencoder
from vae_zoo.pretrained import from_pretrained, push_to_hub, save_pretrained

__all__ = ["from_pretrained", "load", "push_to_hub", "read", "save_pretrained"]


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, as plain data and tensors: nothing in it is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is an address, not a checkpoint, a damaged one, or not one of vae_zoo.
    """
    path = check_file(path)
    verify(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise DamagedCheckpointError(f"{path} is no checkpoint, or a damaged one: torch cannot read it.") from error
    if not isinstance(checkpoint, dict) or "vae_zoo" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of vae_zoo: it names no model.")
    check_content(checkpoint, str(path))
    return checkpoint


def load(path: str | Path, *, trust: Iterable[str] = ()) -> Autoencoder:
    """The model of a checkpoint, in evaluation mode, whatever its class.

    Nothing in the file is executed. A class that it names is taken if it is one of vae_zoo, of torch's networks and
    optimizers or of a plug-in, if the program has imported it, or if its package is trusted.

    Args:
        path: A checkpoint that a fit has written, or a folder of :func:`save_pretrained`.
        trust: Names of further packages whose modules may be imported.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint of vae_zoo, or names a class that is not trusted.

    Example:
        >>> model = vae_zoo.load("model.ckpt")  # doctest: +SKIP
    """
    if Path(path).is_dir():
        return from_pretrained(path, trust=trust)
    model = read(path)["vae_zoo"]["model"]
    more = (*trust, *trusted.imported(model))
    trusted.check_classes(model, str(path), more)
    with trusted.guard(*more):
        trusted.import_class(model["class_path"])
        return Autoencoder.load_from_checkpoint(path, map_location="cpu").eval()
