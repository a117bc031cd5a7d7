"""Constructor arguments as plain data, so that a checkpoint needs nothing but itself to be loaded.

A component is a class or a ``functools.partial`` of one. Its plain form is ``{"class_path": …, "init_args": {…}}``,
which is how the command line writes it, and which ``torch.load(weights_only=True)`` reads.
"""

from __future__ import annotations

import importlib
import inspect
import numbers
import os
import re
import sys
from abc import ABCMeta
from argparse import ArgumentError
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import Any

from lightning.pytorch.utilities.model_helpers import _restricted_classmethod
from torch import Tensor

from vae_zoo import trust
from vae_zoo.checkpoints import verify
from vae_zoo.foreign import check_file, read_arguments

_KINDS = {"int": "a whole number", "float": "a number"}


def import_path(cls: type) -> str:
    """The shortest public path of a class: ``vae_zoo.nn.Dense`` rather than ``vae_zoo.nn.dense.Dense``."""
    parts = cls.__module__.split(".")
    for end in range(1, len(parts)):
        if getattr(importlib.import_module(".".join(parts[:end])), cls.__qualname__, None) is cls:
            return ".".join([*parts[:end], cls.__qualname__])
    return f"{cls.__module__}.{cls.__qualname__}"


def plain(value: Any) -> Any:
    """Turn a constructor's argument into plain data.

    Args:
        value: A number, string, sequence, mapping, path, enum, 0-dimensional tensor, class or partial of a class.

    Returns:
        Numbers, strings, lists and dictionaries only.

    Raises:
        TypeError: If the value cannot be written down: an instance of a module, a lambda.
    """
    if isinstance(value, type):
        return {"class_path": import_path(value)}
    if isinstance(value, partial):
        *makers, cls = value.func, *value.args  # the command line puts its own instantiators before the class
        if isinstance(cls, type) and all(m.__module__.startswith("jsonargparse.") for m in makers):
            return {"class_path": import_path(cls), "init_args": plain(value.keywords)}
    if isinstance(value, Enum):
        return value.name
    if getattr(value, "ndim", None) == 0 and hasattr(
        value, "item"
    ):  # 0-dimensional tensors, numpy's floats and strings
        return value.item()
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)  # of a subclass, which a safe load would refuse
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) or type(value).__name__ == "Size":
        return [plain(v) for v in value]
    if isinstance(value, (FunctionType, BuiltinFunctionType)) and value.__name__ != "<lambda>":
        return f"{value.__module__}.{value.__qualname__}"
    came = "a tensor" if isinstance(value, Tensor) else type(value).__name__
    text = " ".join(repr(value).split())
    raise TypeError(
        f"a constructor's argument must be plain data, a class or a partial of one, got {came}: {text[:100]}."
    )


def check_types(cls: type, given: Mapping[str, Any]) -> None:
    """Refuse arguments of another kind than a constructor on the way asks for, and None where it asks for anything.

    Args:
        cls: The class.
        given: Its arguments by name.

    Raises:
        ValueError: With what was expected and what came.
    """
    for base in cls.__mro__:
        if "__init__" not in base.__dict__ or base is object:
            continue
        for name, parameter in inspect.signature(base.__init__).parameters.items():  # type: ignore[misc]
            if name in given and given[name] is not parameter.default:
                _check_type(name, given[name], parameter.annotation)


def _check_type(name: str, value: Any, annotation: Any) -> None:
    wanted = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "Any")
    kinds = [kind.strip() for kind in wanted.split("|")]
    if value is None:
        if wanted[:1].isalpha() and not {"None", "Any", "object", "_empty"} & set(kinds) and "Optional" not in wanted:
            raise ValueError(f"{name} must be {_KINDS.get(wanted, 'given')}, got None.")
        return
    if not set(kinds) <= {"int", "float", "None"}:
        _check_kind(name, value, wanted.removesuffix("| None").strip())
        return
    number = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    wanted = "float" if "float" in kinds else "int"
    if isinstance(number, bool) or not isinstance(number, numbers.Real if wanted == "float" else numbers.Integral):
        raise ValueError(f"{name} must be {_KINDS[wanted]}, got {value!r}.")


def _check_kind(name: str, value: Any, kind: str) -> None:
    """Refuse what is no switch, no text, no shape, or nothing that makes a component."""
    came = repr(value) if isinstance(value, (str, int, float, list, tuple)) else f"a {type(value).__name__}"
    if kind == "bool" and not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {came}.")
    if kind == "str" and not isinstance(value, (str, os.PathLike)):
        raise ValueError(f"{name} must be text, got {came}.")
    if kind == "Shape" and (isinstance(value, str) or not _are_whole(value)):
        raise ValueError(f"{name} must be a tuple of whole numbers, got {came}.")
    if kind.startswith("Callable") or kind in ("Network", "OptimizerCallable", "LRSchedulerCallable"):
        if not callable(value):
            raise ValueError(f"{name} must be a class or a functools.partial of one, got {came}.")
        _check_role(name, value, kind)


def _are_whole(value: Any) -> bool:
    return isinstance(value, Sequence) and all(isinstance(side, numbers.Integral) for side in value)


def _check_role(name: str, value: Any, kind: str) -> None:
    """Refuse a prior for a family, the other way round, and a distribution of torch's for either."""
    from torch.distributions import Distribution

    from vae_zoo.distributions import Family, Prior

    roles = {"Callable[[Shape], Family]": (Family, Prior), "Callable[[Shape], Prior]": (Prior, Family)}
    cls = value.func if isinstance(value, partial) else value
    if kind not in roles or not isinstance(cls, type):
        return
    wanted, other = roles[kind]
    if issubclass(cls, (other, Distribution)):
        what = other.__name__ if issubclass(cls, other) else "distribution of torch"
        raise ValueError(f"{name} must be a {wanted.__name__} of vae_zoo.distributions, got {cls.__name__}, a {what}.")


def _imported(path: str) -> type | None:
    """The class of a path, if its module is there already."""
    module, _, name = path.rpartition(".")
    found = getattr(sys.modules.get(module), name, None) if module else None
    return found if isinstance(found, type) else None


class _Built(ABCMeta):
    """Has an object remember its attributes as its constructors leave them."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__call__(*args, **kwargs)
        names = {name for base in cls.__mro__ if "__init__" in vars(base) for name in _parameters(base)}
        mirrors = {name: vars(self)[name] for name in names & vars(self).keys()}
        vars(self)["_built"] = {name: x for name, x in mirrors.items() if isinstance(x, (bool, int, float, str))}
        return self


def _parameters(cls: type) -> Iterable[str]:
    return inspect.signature(cls.__init__).parameters if cls is not object else ()  # type: ignore[misc]


class Recorded(metaclass=_Built):
    """Keeps the arguments of the outermost constructor, whatever the constructors on the way do with them.

    Constructors must be keyword-only and pass ``**kwargs`` on untouched. An attribute of the name of an argument that
    is set later, ``model.beta = 7``, takes the place of the argument.

    Raises:
        TypeError: If an argument is given without its name, which the record would lose.
        ValueError: If an argument is no number where a number is asked for.
    """

    _init_args: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if args:
            raise TypeError(f"{cls.__name__} takes its arguments by name, got {len(args)} without one.")
        check_types(cls, kwargs)
        self = super().__new__(cls)
        self._init_args = kwargs
        return self

    @_restricted_classmethod
    def load_from_checkpoint(
        cls,  # noqa: N805 - a classmethod, which cannot be called on an instance by mistake
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """What a checkpoint holds: nothing in the file is executed, and only what is trusted is imported.

        Args:
            checkpoint_path: A file, or a file object.
            map_location: Where tensors go, as in ``torch.load``.
            hparams_file: None: checkpoints hold their hyperparameters.
            strict: Whether all weights of a model must fit.
            weights_only: True or None.
            kwargs: Arguments of the constructor that differ from those in the checkpoint.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is an address, names a class that is not trusted or holds an argument that does not fit;
                if weights_only is false.
        """
        if weights_only is False or hparams_file is not None:
            given = "weights_only is false" if weights_only is False else "hparams_file is given"
            raise ValueError(f"{given}, but checkpoints are read as plain data that hold their hyperparameters.")
        if strict is not None:
            kwargs["strict"] = strict  # data know of none
        file, where = checkpoint_path, "the checkpoint"
        if on_disk := isinstance(file, (str, os.PathLike)):
            where, file = os.fspath(file), check_file(file).absolute()  # which Lightning takes for no address
            verify(file)
        saved = read_arguments(file, where, cls.CHECKPOINT_HYPER_PARAMS_KEY, mmap=on_disk)  # type: ignore[attr-defined]
        # Who calls a class names it, and its package.
        more = {cls.__module__.partition(".")[0], *trust.imported(saved)} - trust.LIBRARIES
        trust.check_classes(saved, where, more)
        held = _imported(str((saved or {}).get("_class_path", "")))
        if held is not None and not issubclass(held, cls):
            raise ValueError(f"{where} holds a {held.__name__}, which is no {cls.__name__}: load it by its own class.")
        with trust.guard(*more):
            try:
                return super().load_from_checkpoint(  # type: ignore[misc]
                    file, map_location, weights_only=True, **kwargs
                )
            except ArgumentError as error:
                raise ValueError(trust.denied(str(error), where)) from error
            except RuntimeError as error:
                lines = str(error).splitlines()
                if not lines[0].startswith("Error(s) in loading state_dict"):
                    raise
                raise ValueError(f"the weights in {where} do not fit its model: {lines[1].strip()}") from error
            except ValueError as error:
                if unknown := re.search(r"got an unexpected keyword argument '(\w+)'", str(error)):
                    name = (held or cls).__name__
                    raise ValueError(f"{where} holds a {name}, which has no argument {unknown[1]}.") from error
                raise

    def recorded(self) -> dict[str, Any]:
        """Class and constructor arguments as plain data: ``{"class_path": …, "init_args": {…}}``.

        Raises:
            TypeError: If an argument cannot be written as plain data.
        """
        return {"class_path": import_path(type(self)), "init_args": plain({**self._init_args, **self.changed()})}

    def changed(self) -> dict[str, Any]:
        """Attributes of the names of arguments that are no longer what the constructors left."""
        built = vars(self).get("_built", {})
        return {name: vars(self)[name] for name, x in built.items() if name in vars(self) and vars(self)[name] != x}
