"""A trained model with the data that it was fitted to, made anew from one reading of its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple


class Trained(NamedTuple):
    """What a checkpoint or a folder of a shared model holds.

    Args:
        model: The model, in evaluation mode.
        data: Its data as plain data.
        content: The whole of the checkpoint.
    """

    model: Any
    data: dict[str, Any]
    content: dict[str, Any]


def trained(path: Path) -> Trained:
    """The model of a checkpoint or of a folder, and its data.

    Raises:
        ValueError: If the file is damaged or not trusted, or names no data.
    """
    from vae_zoo.checkpoints.folders import read_folder
    from vae_zoo.checkpoints.load import read, restore
    from vae_zoo.models import Autoencoder

    content = read_folder(path) if path.is_dir() else read(path)
    data = content["vae_zoo"].get("data")
    if not data:
        raise ValueError(f"{path} names no data, as after a fit in Python: use the function in Python instead.")
    return Trained(restore(Autoencoder, content, str(path)).eval(), data, content)


def chosen(ckpt_path: Path | None, pretrained: str | None) -> Trained:
    """The model of a checkpoint, of weights of the package or of a repository of the Hub, and its data.

    Raises:
        ValueError: If a file is damaged or not trusted, or names no data.
        FileNotFoundError: If there are no such weights.
    """
    from vae_zoo import weights
    from vae_zoo.checkpoints.folders import download
    from vae_zoo.hub import from_pretrained

    if ckpt_path is not None:
        return trained(ckpt_path)
    name = str(pretrained)
    if name.startswith(weights.HUB):
        return trained(download(name.removeprefix(weights.HUB), None, None))
    return Trained(from_pretrained(name), weights.find(name).data, {})


def model_of(options: Any) -> Any:
    """The model that ``--ckpt_path`` or ``--pretrained`` of a verb names.

    Raises:
        ValueError: If a file is damaged or not trusted.
    """
    from vae_zoo.hub import from_pretrained, load

    return from_pretrained(options.pretrained) if options.pretrained else load(options.ckpt_path)


def about(path: Path) -> dict[str, Any]:
    """What a checkpoint or the folder of a shared model says of its model, data and classes."""
    from vae_zoo.checkpoints.folders import CONFIG, read_config
    from vae_zoo.checkpoints.load import read

    found: dict[str, Any] = read_config(path / CONFIG) if path.is_dir() else read(path)["vae_zoo"]
    return found


def labels_of(about: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """The column of the labels of a table, by what :func:`about` gives: ``y`` and numbers where it names none."""
    given = (about.get("data") or {}).get("init_args") or {}
    names = list(about.get("classes") or ())[:num_classes]
    names += range(len(names), num_classes)  # of classes that the data did not have
    return {"name": given.get("label_column") or "y", "type": "category", "categories": [str(name) for name in names]}


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


def examples_of(model: Any, data: Any, split: str, num: int | None = None) -> tuple[Any, Any]:
    """The first examples of a split as evaluation sees them, in their order, and their conditions if there are any."""
    data.predict_split = split
    data.setup("predict")
    x, c = collected(model, data, data.predict_dataloader(), num)
    return x.float(), c


def collected(model: Any, data: Any, loader: Any, num: int | None = None) -> tuple[Any, Any]:
    """The first examples of a loader as a model takes them, and their conditions if there are any."""
    import torch

    rows, conditions, count = [], [], 0
    for batch in loader:
        x, c = model.unpack(data.on_after_batch_transfer(batch, 0))
        rows.append(x)
        conditions += [] if c is None else [c]
        count += len(x)
        if num is not None and count >= num:
            break
    return torch.cat(rows)[:num], torch.cat(conditions)[:num] if conditions else None
