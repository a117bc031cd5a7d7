"""The data that a trained model was fitted to, made anew from what its checkpoint says."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def description(path: Path) -> dict[str, Any]:
    """The data of a checkpoint or of a folder as plain data, and the whole of a checkpoint.

    Raises:
        ValueError: If no data are named.
    """
    from vae_zoo.checkpoints.folders import CONFIG, read_config
    from vae_zoo.hub import read as read_checkpoint

    whole: dict[str, Any] = {} if path.is_dir() else read_checkpoint(path)
    data = read_config(path / CONFIG).get("data") if path.is_dir() else whole["vae_zoo"].get("data")
    if not data:
        raise ValueError(f"{path} names no data, as after a fit in Python: use the function in Python instead.")
    return {"data": data, "whole": whole}


def data_of(described: dict[str, Any], path: Path) -> Any:
    """The data module of a checkpoint.

    Raises:
        ValueError: If it is not trusted, or its arguments do not fit.
    """
    from argparse import ArgumentError

    from lightning.pytorch.cli import instantiate_module

    from vae_zoo.data import DataModule
    from vae_zoo.security import trust

    trust.check_classes(described, str(path))
    given = {**described.get("init_args", {}), "_class_path": described["class_path"]}
    with trust.guard():
        try:
            made: Any = instantiate_module(DataModule, given)  # type: ignore[type-abstract]
        except (ArgumentError, TypeError) as error:
            raise ValueError(trust.denied(str(error), str(path))) from error
    return made
