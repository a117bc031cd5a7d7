"""Checks of untrusted checkpoints, before they are read and before their content is used."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePath
from pickle import UnpicklingError
from typing import Any

from vae_zoo.security.limits import check_archive, check_plain


def check_file(path: str | os.PathLike[str]) -> Path:
    """The path of a checkpoint, if it is a local, uncompressed file.

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


def check_content(checkpoint: Mapping[str, Any], where: str) -> None:
    """Refuse a checkpoint whose description of model and data is not of the form that a fit writes.

    Args:
        checkpoint: Content of the checkpoint, plain data and tensors.
        where: Its name in errors.

    Raises:
        ValueError: If the description is damaged, or too large.
    """
    check_states(checkpoint, where)
    saved = checkpoint["vae_zoo"]
    check_plain(saved, where)
    check_plain(checkpoint.get("hyper_parameters", {}), where)
    model, data = (saved.get(key) if isinstance(saved, Mapping) else None for key in ("model", "data"))
    sound = _is_description(model) and (data is None or _is_description(data))
    if not sound or not isinstance(checkpoint.get("pytorch-lightning_version", ""), str):
        raise ValueError(f"{where} is damaged: its description of the model or the data is not one that a fit writes.")


_KINDS: dict[str, Callable[[Any], bool]] = {
    "state_dict": lambda value: _is_weights(value),
    "current_model_state": lambda value: _is_weights(value),
    "averaging_state": lambda value: isinstance(value, Mapping),
    "epoch": lambda value: _is_count(value),
    "global_step": lambda value: _is_count(value),
    "pytorch-lightning_version": lambda value: isinstance(value, str) and value[:1].isdigit(),
    "hyper_parameters": lambda value: isinstance(value, Mapping) and isinstance(value.get("_class_path"), str),
    "callbacks": lambda value: isinstance(value, Mapping) and all(isinstance(key, str) for key in value),
    "curves": lambda value: isinstance(value, Mapping),
    "hparams_name": lambda value: value is None or isinstance(value, str),
    "loops": lambda value: _is_tree(value) and _counts(value),
    "optimizer_states": lambda value: _are(value, lambda state: _is_optimizer(state)),
    "lr_schedulers": lambda value: _are(value, lambda state: isinstance(state, Mapping)),
}
"""Types of the entries that a fit writes, by key."""

_ALWAYS = ("state_dict", "epoch", "global_step", "pytorch-lightning_version", "hyper_parameters")
_RESUMED = ("loops", "callbacks", "optimizer_states", "lr_schedulers")
_FILLED = ("loops", "optimizer_states")
_SHAPED = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq", "exp_inf", "momentum_buffer", "square_avg", "acc_delta")
"""States of an optimizer that have the shape of their parameter."""

_PROGRESS = ("epoch_progress", "epoch_loop.batch_progress", "epoch_loop.state_dict")
_COUNTERS = ("ready", "started", "processed", "completed", "_batches_that_stepped")


def check_states(checkpoint: Any, where: str) -> None:
    """Refuse a checkpoint with missing entries or entries of the wrong type.

    Args:
        checkpoint: Content of the checkpoint, plain data and tensors.
        where: Its name in errors.

    Raises:
        ValueError: With the key.
    """
    if not isinstance(checkpoint, Mapping):
        raise ValueError(f"{where} is no checkpoint: it holds a {type(checkpoint).__name__}.")
    for key, is_sound in _KINDS.items():
        if key in checkpoint and not is_sound(checkpoint[key]):
            raise ValueError(f"{where} is damaged: its {key} is not what a fit writes.")
    if missing := [key for key in _ALWAYS if key not in checkpoint]:
        raise ValueError(f"{where} is damaged: it has no {missing[0]}.")


def check_resumable(checkpoint: Mapping[str, Any], parameters: list[Any]) -> None:
    """Refuse a checkpoint that cannot be resumed from: with weights only, or with an optimizer of other weights.

    Args:
        checkpoint: Content of the checkpoint.
        parameters: Parameters of the model, in the order of its optimizer.

    Raises:
        ValueError: With what is missing or does not fit.
    """
    if missing := [key for key in _RESUMED if not (key in checkpoint and (checkpoint[key] or key not in _FILLED))]:
        raise ValueError(f"no fit can go on from a checkpoint without {missing[0]}: StartFrom takes weights alone.")
    loop = checkpoint["loops"].get("fit_loop", {})
    if lost := [key for key in _PROGRESS if not loop.get(key)]:
        raise ValueError(f"no fit can go on from the checkpoint: its loops lack {lost[0]}, which a fit writes.")
    optimizer = checkpoint["optimizer_states"][0]
    num = sum(len(group["params"]) for group in optimizer["param_groups"])
    if num != len(parameters):
        raise ValueError(f"the optimizer in the checkpoint is of {num} parameters, the model has {len(parameters)}.")
    for number, state in optimizer["state"].items():
        for name, value in state.items() if isinstance(state, Mapping) and number in range(len(parameters)) else ():
            shape = getattr(value, "shape", None)
            if name in _SHAPED and shape != parameters[number].shape:
                raise ValueError(
                    f"the optimizer in the checkpoint is of other weights: {name} of parameter {number} has the shape "
                    f"{tuple(shape or ())}, the parameter {tuple(parameters[number].shape)}."
                )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_weights(value: Any) -> bool:
    from torch import Tensor

    sound = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    return sound and all(isinstance(item, Tensor) or key.endswith("_extra_state") for key, item in value.items())


def _is_tree(value: Any) -> bool:
    """Whether states of loops are dictionaries with names."""
    return isinstance(value, Mapping) and all(isinstance(k, str) and isinstance(v, Mapping) for k, v in value.items())


def _counts(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return True
    return all(_is_count(item) if key in _COUNTERS else _counts(item) for key, item in value.items())


def _are(value: Any, is_sound: Callable[[Any], bool]) -> bool:
    return isinstance(value, (list, tuple)) and all(map(is_sound, value))


def _is_optimizer(state: Any) -> bool:
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    sound = _are(groups, lambda group: isinstance(group, Mapping) and _are(group.get("params"), _is_count))
    return sound and isinstance(state.get("state"), Mapping)


def read_plainly(strategy: Any) -> None:
    """Have a strategy of Lightning read checkpoints as plain data, regardless of its arguments and of the source.

    By default it executes checkpoints from addresses, and any file if an environment variable of torch is set;
    strategies of sharded models unpickle every file.

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
        checkpoint = load(checkpoint_path, weights_only=True)
    except UnpicklingError as error:
        raise ValueError(f"{checkpoint_path} holds more than tensors and plain data, or is damaged.") from error
    if not own:  # which may have taken the weights out of it
        check_states(checkpoint, str(checkpoint_path))
    return checkpoint


def check_callbacks(states: Any, folders: Iterable[str]) -> None:
    """Refuse states of callbacks with which Lightning would delete files outside of the run.

    Lightning removes checkpoints that a state lists as outdated, and recognises those of the run by the prefix of their
    paths.

    Args:
        states: States of callbacks by their keys, as in a checkpoint.
        folders: Folders that the run writes checkpoints to.

    Raises:
        ValueError: If one names a path that leads upwards, or an address elsewhere.
    """
    if isinstance(states, Mapping) and not all(isinstance(state, Mapping) for state in states.values()):
        raise ValueError("the checkpoint is damaged: its callbacks is not what a fit writes.")
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
