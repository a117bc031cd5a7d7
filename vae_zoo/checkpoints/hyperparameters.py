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
from abc import ABCMeta
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from types import BuiltinFunctionType, FunctionType
from typing import TYPE_CHECKING, Any

from torch import Tensor

from vae_zoo.checkpoints import load
from vae_zoo.security.class_paths import LOCAL

_KINDS = {"int": "a whole number", "float": "a number"}


def import_path(cls: type) -> str:
    """The shortest public path of a class: ``vae_zoo.nn.Dense`` rather than ``vae_zoo.nn.dense.Dense``."""
    parts = cls.__module__.split(".")
    for end in range(1, len(parts)):
        if getattr(importlib.import_module(".".join(parts[:end])), cls.__qualname__, None) is cls:
            return ".".join([*parts[:end], cls.__qualname__])
    return f"{cls.__module__}.{cls.__qualname__}"


def class_of(value: Any) -> type | None:
    """The class of a component: the component itself, or the class of a partial."""
    if isinstance(value, type):
        return value
    if isinstance(value, partial):
        *makers, cls = value.func, *value.args  # the command line puts its own instantiators before the class
        if isinstance(cls, type) and all(m.__module__.startswith("jsonargparse.") for m in makers):
            return cls
    return None


def plain(value: Any) -> Any:
    """Turn a constructor's argument into plain data.

    Args:
        value: A number, string, sequence, mapping, path, enum, 0-dimensional tensor, class or partial of a class, or an
            object that is recorded itself.

    Returns:
        Numbers, strings, lists and dictionaries only.

    Raises:
        TypeError: If the value cannot be written down: an instance of a module, a lambda.
    """
    if (cls := class_of(value)) is not None:
        _check_named(cls)
        return {"class_path": import_path(cls)} | ({"init_args": plain(value.keywords)} if cls is not value else {})
    if isinstance(value, Recorded):
        return value.recorded()
    if isinstance(value, Enum):
        return value.name
    # 0-dimensional tensors, numpy's floats and strings.
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
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
        _check_named(value)
        return f"{value.__module__}.{value.__qualname__}"
    came = "a tensor" if isinstance(value, Tensor) else type(value).__name__
    text = " ".join(repr(value).split())
    raise TypeError(
        f"a constructor's argument must be plain data, a class or a partial of one, got {came}: {text[:100]}."
    )


def _check_named(value: Any) -> None:
    if LOCAL in value.__qualname__:
        raise TypeError(
            f"{value.__name__} is defined inside a function, where no checkpoint can find it again: "
            "define it at the top level of a module."
        )


def check_types(cls: type, given: Mapping[str, Any]) -> None:
    """Refuse arguments that are not numbers where a constructor expects one, and None where it expects a value.

    Args:
        cls: The class.
        given: Its arguments by name.

    Raises:
        ValueError: If an argument is one of those.
    """
    seen: set[str] = set()  # an argument is what the outermost class that has it says of it
    for base in cls.__mro__:
        if "__init__" not in base.__dict__ or base is object:
            continue
        parameters = inspect.signature(base.__init__).parameters  # type: ignore[misc]
        for name, parameter in parameters.items():
            if name in given and name not in seen and given[name] is not parameter.default:
                _check_type(name, given[name], parameter.annotation)
        seen |= parameters.keys()


def _check_type(name: str, value: Any, annotation: Any) -> None:
    wanted = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "Any")
    kinds = [kind.strip() for kind in wanted.split("|")]
    if value is None:
        if wanted[:1].isalpha() and not {"None", "Any", "object", "_empty"} & set(kinds) and "Optional" not in wanted:
            raise ValueError(f"{name} must be {_KINDS.get(wanted, 'given')}, got None.")
        return
    if not set(kinds) <= {"int", "float", "None"}:
        return
    number = value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value
    wanted = "float" if "float" in kinds else "int"
    if isinstance(number, bool) or not isinstance(number, numbers.Real if wanted == "float" else numbers.Integral):
        raise ValueError(f"{name} must be {_KINDS[wanted]}, got {value!r}.")


class _Built(ABCMeta):
    """Metaclass whose objects remember their attributes as the constructors leave them."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            self = super().__call__(*args, **kwargs)
        except TypeError as error:
            if said := _named_by(cls, str(error), kwargs):
                raise TypeError(said) from error
            raise
        names = {name for base in cls.__mro__ if "__init__" in vars(base) for name in _parameters(base)}
        mirrors = {name: vars(self)[name] for name in names & vars(self).keys()}
        vars(self)["_built"] = {name: x for name, x in mirrors.items() if isinstance(x, (bool, int, float, str))}
        self.constructed()
        return self


def _named_by(cls: type, said: str, given: Mapping[str, Any]) -> str:
    """The message of an error about an argument, with the name of the class that was called instead of its base."""
    where, _, rest = said.partition(".__init__() ")
    if where not in {base.__qualname__ for base in cls.__mro__}:
        return ""
    unknown = re.fullmatch(r"got an unexpected keyword argument '(\w+)'.*", rest)
    missing = re.fullmatch(r"missing \d+ required keyword-only arguments?: (.*)", rest)
    if unknown and unknown[1] in given:
        return f"{cls.__name__} got an unexpected keyword argument '{unknown[1]}'."
    return f"{cls.__name__} needs {missing[1].replace(chr(39), '')}: give it by name." if missing else ""


def _parameters(cls: type) -> Iterable[str]:
    return inspect.signature(cls.__init__).parameters if cls is not object else ()  # type: ignore[misc]


if TYPE_CHECKING:
    _OfClass = classmethod
else:

    class _OfClass(classmethod):
        """A class method that refuses to be called on an instance, which it would leave as it is."""

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return super().__get__(None, owner)
            name = self.__func__.__name__

            def refuse(*_: Any, **__: Any) -> Any:
                raise TypeError(f"{name} gives a new object: call {type(instance).__name__}.{name}(…), and keep it.")

            return refuse


class Recorded(metaclass=_Built):
    """Base class that records the arguments of its outermost constructor, whatever inner constructors do with them.

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
        cls.check_given(kwargs)
        self = super().__new__(cls)
        self._init_args = kwargs
        return self

    @classmethod
    def check_given(cls, given: Mapping[str, Any]) -> None:
        """Refuse arguments before anything is built from them.

        Raises:
            TypeError: If an argument means nothing to the class.
            ValueError: If an argument is no number where a number is asked for.
        """
        check_types(cls, given)

    def constructed(self) -> None:
        """Called once, after the outermost constructor."""

    @_OfClass
    def load_from_checkpoint(
        cls,  # noqa: N805 - a class method
        checkpoint_path: Any,
        map_location: Any = None,
        hparams_file: Any = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """The object in a checkpoint. Nothing in the file is executed, and only trusted classes are imported.

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
        checkpoint = load.read_any(checkpoint_path, map_location)
        return load.restore(cls, checkpoint, load.name_of(checkpoint_path), strict=strict, **kwargs)

    @property
    def recordable(self) -> bool:
        """Whether a checkpoint can hold the arguments, from which the object is made again."""
        return True

    def recorded(self) -> dict[str, Any]:
        """Class and constructor arguments as plain data: ``{"class_path": …, "init_args": {…}}``.

        Raises:
            TypeError: If an argument cannot be written as plain data.
        """
        init_args = {}
        for name, value in {**self._init_args, **self.changed()}.items():
            try:
                init_args[name] = plain(value)
            except TypeError as error:
                raise TypeError(f"{name}: {error}") from None
        return {"class_path": import_path(type(self)), "init_args": init_args}

    def changed(self) -> dict[str, Any]:
        """Attributes named like arguments whose values have changed since construction."""
        built = vars(self).get("_built", {})
        return {name: vars(self)[name] for name, x in built.items() if name in vars(self) and vars(self)[name] != x}
