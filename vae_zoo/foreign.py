"""Checkpoints of others: what is looked at before one is read, and before what it holds is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePath
from pickle import UnpicklingError
from typing import Any

from vae_zoo.limits import check_archive, check_plain


def check_file(path: str | os.PathLike[str]) -> Path:
    """The path of a checkpoint, if it is a file of the size that it seems to have.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is an address, or is compressed.
    """
    text = os.fspath(path)
    if "://" in text or "::" in text:
        raise ValueError(f"checkpoints are read from files: download {text} first, and give the path of the file.")
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: give the path of a .ckpt file.")
    check_archive(file, stored=True)
    return file


def read_arguments(file: Any, where: str, key: str, *, mmap: bool) -> Any:
    """Constructor arguments in a checkpoint, as plain data.

    Args:
        file: The file: a path, or an object to read from, which is left at its start.
        where: What to call it.
        key: Where the arguments stand in it.
        mmap: Whether to leave weights in the file.

    Raises:
        ValueError: If it is no checkpoint, or the arguments stand for more than fits.
    """
    import torch

    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        raise ValueError(f"{where} is no checkpoint, or a damaged one: torch cannot read it.") from error
    if hasattr(file, "seek"):
        file.seek(0)
    arguments = checkpoint.get(key, {}) if isinstance(checkpoint, dict) else None
    check_plain(arguments, where)
    return arguments


def check_content(checkpoint: Mapping[str, Any], where: str) -> None:
    """Refuse a checkpoint whose description of model and data is not what a fit writes.

    Args:
        checkpoint: What was read, plain data and tensors.
        where: What to call it.

    Raises:
        ValueError: If the description is damaged, or stands for more than fits.
    """
    saved = checkpoint["vae_zoo"]
    check_plain(saved, where)
    check_plain(checkpoint.get("hyper_parameters", {}), where)
    model, data = (saved.get(key) if isinstance(saved, Mapping) else None for key in ("model", "data"))
    sound = _is_description(model) and (data is None or _is_description(data))
    if not sound or not isinstance(checkpoint.get("pytorch-lightning_version", ""), str):
        raise ValueError(f"{where} is damaged: its description of the model or the data is not one that a fit writes.")


def read_plainly(strategy: Any) -> None:
    """Have a strategy of Lightning's read checkpoints as plain data, whatever it is told, and from wherever.

    By itself it executes what an address serves, and any file where an environment variable of torch says so; those of
    sharded models unpickle every file.

    Args:
        strategy: The strategy of a Trainer.
    """
    from lightning.pytorch.strategies import Strategy

    if not isinstance(strategy.load_checkpoint, partial):
        own = type(strategy).load_checkpoint is not Strategy.load_checkpoint
        strategy.load_checkpoint = partial(_load_plainly, strategy.load_checkpoint, own)


def _load_plainly(
    load: Callable[..., Any],
    own: bool,
    checkpoint_path: Any,
    weights_only: bool | None = None,  # noqa: ARG001
) -> Any:
    import torch

    if Path(checkpoint_path).is_dir():
        raise ValueError(
            f"{checkpoint_path} is a folder of shards, which are pickles: save whole ones, state_dict_type='full'."
        )
    try:
        if own and Path(checkpoint_path).is_file():  # which may have a reader of its own
            torch.load(checkpoint_path, map_location="cpu", weights_only=True, mmap=True)
        return load(checkpoint_path, weights_only=True)
    except UnpicklingError as error:
        raise ValueError(f"{checkpoint_path} holds more than tensors and plain data, or is damaged.") from error


def check_callbacks(states: Any, folders: Iterable[str]) -> None:
    """Refuse states of callbacks by which Lightning would delete files beside those of the run.

    It removes the checkpoints that a state calls outdated, and tells those of the run by how their paths begin.

    Args:
        states: States of callbacks by their keys, as in a checkpoint.
        folders: Folders that the run writes checkpoints to.

    Raises:
        ValueError: If one names a path that leads upwards, or an address elsewhere.
    """
    for key, state in states.items() if isinstance(states, Mapping) else ():
        for path in _texts(state):
            elsewhere = "://" in path and not any("://" in folder and path.startswith(folder) for folder in folders)
            if elsewhere or ".." in PurePath(path).parts:
                raise ValueError(
                    f"the checkpoint holds a state of {str(key).partition('{')[0]} with the path {path}, "
                    "which is outside of the run: it is not one that a fit has written."
                )


def _is_description(part: Any) -> bool:
    sound = isinstance(part, Mapping) and isinstance(part.get("init_args"), Mapping)
    return sound and isinstance(part.get("class_path"), str)


def _texts(value: Any) -> Iterator[str]:
    stack, seen = [value], set()
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, (Mapping, list, tuple, set)) and id(value) not in seen:
            seen.add(id(value))
            stack += [*value.keys(), *value.values()] if isinstance(value, Mapping) else value
