"""The one way from disk to an object: read once, check once, build, load the state."""

from __future__ import annotations

import os
import re
from argparse import ArgumentError
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import torch
from lightning.pytorch.core.saving import _default_map_location, _load_state

from vae_zoo.checkpoints.files import DamagedCheckpointError, verify
from vae_zoo.security import trust
from vae_zoo.security.class_paths import is_lost
from vae_zoo.security.limits import check_plain
from vae_zoo.security.untrusted import check_content, check_file
from vae_zoo.system.tensors import restoring


def read(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint of vae_zoo, as plain data and tensors: nothing in it is executed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is an address, not a checkpoint, a damaged one, or not one of vae_zoo.
    """
    checkpoint = read_any(path, "cpu")
    if "vae_zoo" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of vae_zoo: it names no model.")
    check_content(checkpoint, str(path))
    check_class_names(checkpoint["vae_zoo"].get("classes"), str(path))
    return checkpoint


def read_any(file: str | os.PathLike[str] | IO[bytes], map_location: Any = None) -> dict[str, Any]:
    """The content of a checkpoint of any class, as plain data and tensors. Tensors of a file on disk stay there.

    Args:
        file: A path, or an object to read from.
        map_location: Where tensors go, as in ``torch.load``; where they were if not given.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is an address, not a checkpoint, or a damaged one.
    """
    if on_disk := isinstance(file, (str, os.PathLike)):
        file = check_file(file)
        verify(file)
    try:
        where: Any = map_location or _default_map_location
        checkpoint = torch.load(file, map_location=where, weights_only=True, mmap=on_disk)
    except Exception as error:
        raise DamagedCheckpointError(
            f"{name_of(file)} is no checkpoint, or a damaged one: torch cannot read it."
        ) from error
    if not isinstance(checkpoint, dict):
        raise ValueError(f"{name_of(file)} is no checkpoint: it holds a {type(checkpoint).__name__}.")
    return checkpoint


def are_labels(value: Any) -> bool:
    """Whether something is a list of labels as plain data."""
    return isinstance(value, list) and all(isinstance(name, (int, float, str)) for name in value)


def check_class_names(value: Any, where: str) -> None:
    """Refuse names of classes that are no labels.

    Raises:
        ValueError: If they are something else than None or a list of labels.
    """
    if not (value is None or are_labels(value)):
        raise ValueError(f"{where}: classes must be a list of labels, got {value!r}.")


def as_lightning_has_it(recorded: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters as Lightning builds a class from them: the arguments, with the class among them."""
    instantiator = "lightning.pytorch.cli.instantiate_module"
    return {**recorded.get("init_args", {}), "_class_path": recorded["class_path"], "_instantiator": instantiator}


def name_of(file: Any) -> str:
    """The name of a file in messages."""
    return os.fspath(file) if isinstance(file, (str, os.PathLike)) else "the checkpoint"


def restore(
    cls: Any,
    checkpoint: dict[str, Any],
    where: str,
    packages: Iterable[str] = (),
    strict: bool | None = None,
    **given: Any,
) -> Any:
    """The object in a checkpoint: its arguments are checked, it is built from them, and its state is loaded.

    Args:
        cls: Class that it must be of.
        checkpoint: Content of the checkpoint.
        where: Its name in messages.
        packages: Further packages whose modules may be imported.
        strict: Whether all weights of a model must fit.
        given: Arguments of the constructor that differ from those in the checkpoint.

    Raises:
        ValueError: If it names a class that is not trusted, or holds arguments or weights that do not fit.
    """
    saved = checkpoint.get(cls.CHECKPOINT_HYPER_PARAMS_KEY) or {}
    check_plain(saved, where)
    path = saved.get("_class_path")
    # Who calls a class names it, and its package.
    own = {cls.__module__.partition(".")[0], *trust.imported(saved)} - trust.LIBRARIES
    more = (*packages, *own)
    if lost := is_lost(path, cls):  # it is the class in hand, which its path does not lead to
        saved = {name: value for name, value in saved.items() if name != "_class_path"}
        checkpoint = {**checkpoint, cls.CHECKPOINT_HYPER_PARAMS_KEY: saved}
    trust.check_classes(saved, where, more)
    held = cls if lost or path is None else trust.import_class(path)
    if not (isinstance(held, type) and issubclass(held, cls)):
        found = getattr(held, "__name__", path)
        raise ValueError(f"{where} holds a {found}, which is no {cls.__name__}: load it by its own class.")
    with trust.guard(*more), restoring():
        try:
            made = _load_state(cls, checkpoint, strict=strict, **given)
        except (ArgumentError, TypeError, ImportError) as error:
            raise ValueError(trust.denied(str(error), where)) from error
        except RuntimeError as error:
            lines = str(error).splitlines()
            if not lines[0].startswith("Error(s) in loading state_dict"):
                raise
            raise ValueError(f"the weights in {where} do not fit its model: {lines[1].strip()}") from error
        except ValueError as error:
            if unknown := re.search(r"got an unexpected keyword argument '(\w+)'", str(error)):
                raise ValueError(f"{where} holds a {held.__name__}, which has no argument {unknown[1]}.") from error
            if str(error).startswith("Does not validate"):
                raise ValueError(trust.denied(str(error), where)) from error
            raise
    weights = next((x for x in checkpoint.get("state_dict", {}).values() if isinstance(x, torch.Tensor)), None)
    return made.to(weights.device) if isinstance(made, torch.nn.Module) and weights is not None else made
