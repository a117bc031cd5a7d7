"""Construction and checks of the components of a model."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar, get_type_hints

from lightning.pytorch import LightningModule
from torch import nn

from vae_zoo.checkpoints.hyperparameters import class_of
from vae_zoo.distributions import Family, Prior
from vae_zoo.nn import CodePrior, Corruption, Quantizer, Restraint, Schedule
from vae_zoo.penalties import Penalty

Made = TypeVar("Made", bound=nn.Module)

_OTHERS = (Family, Prior, LightningModule, CodePrior, Quantizer, Penalty, Schedule, Corruption, Restraint)
"""Modules that are not networks, although they may be made from the same arguments."""

_WANTED: dict[type, tuple[str, str]] = {
    Family: ("a Family", "shape"),
    Prior: ("a Prior", "shape"),
    nn.Module: ("a network", "in_shape, out_shape"),
    Quantizer: ("a Quantizer", "num_codes, dim"),
    CodePrior: ("a CodePrior", "grid, num_codes"),
    Penalty: ("a Penalty", "shape"),
    Schedule: ("a Schedule", ""),
    Corruption: ("a Corruption", ""),
    Restraint: ("a Restraint", ""),
}
"""Name of a component of each kind, and the arguments that it is made from."""


def make(role: str, factory: Callable[..., Any], kind: type[Made], *args: Any, **offered: Any) -> Made:
    """A component of a model.

    Args:
        role: The model's argument.
        factory: What was given: a class, a partial of one, or a function.
        kind: What it must give.
        args: What the model supplies.
        offered: What it supplies besides to a factory that has an argument of that name.

    Raises:
        TypeError: If it is not of that kind, or is not made from such arguments.
    """
    cls = class_of(factory)
    name = getattr(cls or factory, "__name__", type(factory).__name__)
    wanted, takes = _WANTED[kind]
    if not callable(factory):
        raise TypeError(f"{role} must be a class that makes {wanted}, or a partial of one, got {factory!r:.80}.")
    if cls is not None:
        _check_kind(role, cls, kind, wanted)
    elif not (isinstance(returned := _returned(factory), type) and issubclass(returned, kind)):
        raise TypeError(
            f"{role}: say what the function {name} returns, as in def {name}({takes}) -> {kind.__name__}, "
            "or give a class: a checkpoint names it, and what is read must be of the right kind."
        )
    try:
        inspect.signature(factory).bind(*args)
    except TypeError as error:
        raise TypeError(f"{role} must be made from ({takes}), which {name} is not: {error}.") from None
    except ValueError:  # a signature that is not known
        pass
    try:
        made = factory(*args, **_taken(factory, offered))
    except TypeError as error:
        if "tuple" not in str(error) and (cls is None or not cls.__module__.startswith("torch.")):
            raise  # of the class itself: what it was given are tuples
        raise TypeError(f"{role} must be made from ({takes}), here {args}, which {name} is not: {error}") from error
    _check_kind(role, type(made), kind, wanted)
    return made


def _taken(factory: Callable[..., Any], offered: dict[str, Any]) -> dict[str, Any]:
    """Those of some arguments that a factory has."""
    try:
        parameters = inspect.signature(class_of(factory) or factory).parameters  # the command line's maker hides them
        return {name: offered[name] for name in parameters if name in offered}
    except ValueError:  # a signature that is not known
        return {}


def check_shape(shape: Any) -> None:
    """Refuse values that are not the shape of one example.

    Raises:
        ValueError: If it is no sequence of whole numbers of at least 1.
    """
    sides = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else ()
    if not sides or not all(isinstance(side, numbers.Integral) and int(side) >= 1 for side in sides):
        raise ValueError(f"shape must hold the sides of one example, as in (1, 28, 28), from 1 on, got {shape!r}.")


def check_comparing(model: Any, reason: str, needs: str, advice: str) -> None:
    """Refuse data of a kind for a class that cannot take them.

    Args:
        model: The model.
        reason: Why it cannot; empty if it can.
        needs: What it needs.
        advice: What to do.

    Raises:
        ValueError: With the reason.
    """
    if reason:
        raise ValueError(f"{type(model).__name__} {needs}: {reason}; {advice}.")


def check_point(model: Any) -> None:
    """Refuse a posterior whose spread the model would not use: half of the encoder would remain untrained.

    Raises:
        ValueError: If the posterior has a density.
    """
    if model.posterior.is_density:
        name = type(model.posterior).__name__
        raise ValueError(f"{type(model).__name__} has no use for the spread of {name}: leave the posterior at Point.")


def check_settings(role: str, factory: Any, kinds: type | tuple[type, ...], wanted: str) -> None:
    """Refuse a factory that makes no optimizer or no scheduler.

    Args:
        role: The model's argument.
        factory: What was given; None for nothing.
        kinds: What it must give.
        wanted: What to call that.

    Raises:
        TypeError: If it is not of that kind.
    """
    if factory is None:
        return
    cls = class_of(factory)
    name = getattr(cls or factory, "__name__", type(factory).__name__)
    made = cls or _returned(factory)
    if not (isinstance(made, type) and issubclass(made, kinds)):
        hint = "" if cls or not callable(factory) else ": say what the function returns after its arguments"
        raise TypeError(f"{role} must make {wanted}, got {name}{hint}.")


def _returned(function: Any) -> Any:
    """The annotated return type of a function; None if unknown."""
    try:
        return get_type_hints(function).get("return")
    except (TypeError, NameError):
        return None


def _check_kind(role: str, cls: type, kind: type, wanted: str) -> None:
    if issubclass(cls, kind) and not (kind is nn.Module and issubclass(cls, _OTHERS)):
        return
    base = next((base for base in _OTHERS if issubclass(cls, base)), None)
    what = f", which is a {base.__name__}" if base is not None and base is not cls else ""
    raise TypeError(f"{role} must make {wanted}, got {cls.__name__}{what}.")


@contextmanager
def building(model: Any) -> Iterator[None]:
    """Name the attribute that a property of the model lacks while the networks are being built.

    Otherwise torch reports for any property that fails that the property itself is missing.

    Raises:
        ValueError: If a property reads what is not there yet.
    """
    try:
        yield
    except AttributeError as error:
        read, cls = [], type(model)
        while error.obj is model and isinstance(found := getattr(cls, error.name or "", None), property):
            read.append(error.name)
            try:
                found.__get__(model)
            except AttributeError as inner:
                error = inner
            else:
                raise
        if not read or error.obj is not model:
            raise
        raise ValueError(
            f"{cls.__name__}.{read[-1]} reads {error.name}, which is not there yet: set it before super().__init__(), "
            "which builds the networks."
        ) from error
