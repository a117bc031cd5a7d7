"""Checks that the base classes of a model can be combined, without hiding each other's methods and arguments."""

from __future__ import annotations

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from types import CodeType, FunctionType
from typing import Any

from vae_zoo.checkpoints.hyperparameters import class_of


def check_combination(cls: type, root: type) -> None:
    """Refuse a class if one of its bases hides a method or an argument of another, which would have no effect.

    A method hides that of the next class in the method resolution order unless it calls it by ``super()``. This is
    intended if one class derives from the other, and a mistake if they are unrelated.

    Args:
        cls: Class of a model.
        root: Common base of the classes to check.

    Raises:
        TypeError: With the two classes and the hidden name.
    """
    if reason := _reason(cls, root):
        raise TypeError(reason)


def check_arguments(cls: type, given: Mapping[str, Any]) -> None:
    """Refuse arguments that a class fixes; their defaults, which older checkpoints and configurations hold, pass.

    Args:
        cls: Class of a model; ``fixed`` of a class on the way lists what it fixes, and why.
        given: Arguments by name.

    Raises:
        TypeError: With the argument, and why it has no effect.
    """
    order: tuple[Any, ...] = cls.__mro__
    for name, value in given.items():
        for base in order:
            if name in _fixed(base):
                if not _passed_on(base, name) and _is_default(value, name, order):
                    break
                raise TypeError(f"{cls.__name__} takes no {name}: {_fixed(base)[name]}.")
            if name in _arguments(base):
                break


@functools.cache
def _reason(cls: type, root: type) -> str:
    """The reason why the bases of a class cannot be combined; empty if they can."""
    mro: tuple[Any, ...] = cls.__mro__
    order = [base for base in mro if issubclass(base, root)]
    checks = (_apart, _fixed_and_set, _twice, _hidden)
    found = next((text for check in checks for text in check(order)), "")
    return f"{cls.__name__}: {found}" if found else ""


def _apart(order: list[Any]) -> Iterator[str]:
    for base in order:
        for other in order:
            if why := vars(base).get("apart", {}).get(other.__name__):
                yield f"{base.__name__} and {other.__name__} do not go together: {why}."


def _fixed_and_set(order: list[Any]) -> Iterator[str]:
    for base in order:
        for other in (other for other in order if not issubclass(base, other) and not issubclass(other, base)):
            for name in sorted(_fixed(base).keys() & (_arguments(other) | _fixed(other).keys())):
                yield (
                    f"{base.__name__} and {other.__name__} do not go together: {other.__name__} sets {name}, "
                    f"and {base.__name__} takes none: {_fixed(base)[name]}."
                )


def _twice(order: list[Any]) -> Iterator[str]:
    """Arguments that two classes define independently, so that the first hides the value from the second."""
    for n, base in enumerate(order):
        for other in (other for other in order[n + 1 :] if not issubclass(base, other)):
            for name in sorted(_arguments(base) & _arguments(other)):
                shared = any(issubclass(base, c) and issubclass(other, c) and name in _arguments(c) for c in order)
                if not shared and not _passed_on(base, name):
                    yield (
                        f"{base.__name__} and {other.__name__} do not go together: both have an argument {name}, "
                        f"and that of {other.__name__} would do nothing."
                    )


def _hidden(order: list[Any]) -> Iterator[str]:
    for owner, other, name in _hiding(order):
        turned = _calls_next(other, name) and _go_together(other, owner, order[-1])
        yield (
            f"{owner.__name__} and {other.__name__} do not go together{' in this order' * turned}: {name} of "
            f"{owner.__name__} hides that of {other.__name__}, which would do nothing"
            f"{f'; put {other.__name__} first' * turned}."
        )


def _hiding(order: list[Any]) -> Iterator[tuple[Any, Any, str]]:
    """Classes whose method is the last to be called, the classes whose method it hides, and the method's name."""
    for name in dict.fromkeys(name for base in order for name in vars(base)):
        owners = [base for base in order if _function(base, name) is not None]
        last = next((n for n, owner in enumerate(owners) if not _calls_next(owner, name)), len(owners))
        for other in owners[last + 1 :]:
            if not issubclass(owners[last], other):
                yield owners[last], other, name


def _go_together(first: type, second: type, root: type) -> bool:
    try:
        mro: tuple[Any, ...] = type(first.__name__, (first, second), {}).__mro__
    except TypeError:  # there is no such order
        return False
    order = [base for base in mro if issubclass(base, root)]
    return not any((*_apart(order), *_fixed_and_set(order), *_twice(order), *_hiding(order)))


def _function(cls: Any, name: str) -> FunctionType | None:
    """A method, or the function of a property, that a class itself defines."""
    found = vars(cls).get(name)
    if name.startswith("_"):
        return None
    found = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
    found = inspect.unwrap(found) if callable(found) else found
    return found if isinstance(found, FunctionType) else None


def _calls_next(cls: Any, name: str) -> bool:
    """Whether a class's own method calls that of the next class."""
    function = _function(cls, name)
    return function is not None and {"super", name} <= _names(function.__code__)


def _names(code: CodeType) -> set[str]:
    """Names of globals and attributes that code reads."""
    inner = [names for const in code.co_consts if isinstance(const, CodeType) for names in _names(const)]
    return {*code.co_names, *inner}


def _is_default(value: Any, name: str, order: tuple[Any, ...]) -> bool:
    """Whether a value is the argument's default class, without settings."""
    owner = next(base for base in order if name in _arguments(base))
    default = inspect.signature(vars(owner)["__init__"]).parameters[name].default
    if class_of(default) is None:
        return bool(value == default) or not (value or default)
    return class_of(value) is class_of(default) and not getattr(value, "keywords", {})


def _fixed(cls: type) -> Mapping[str, str]:
    return vars(cls).get("fixed", {})


@functools.cache
def _arguments(cls: Any) -> frozenset[str]:
    """Names of the arguments that a class's own constructor has."""
    if "__init__" not in vars(cls):
        return frozenset()
    parameters = list(inspect.signature(vars(cls)["__init__"]).parameters.values())[1:]
    return frozenset(p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD))


def _passed_on(cls: type, name: str) -> bool:
    """Whether a class's constructor gives an argument to the next one by its name."""
    if "__init__" not in vars(cls):
        return False
    try:
        source = textwrap.dedent(inspect.getsource(vars(cls)["__init__"]))
    except (OSError, TypeError):  # typed in, and kept nowhere
        return True
    return any(isinstance(node, ast.keyword) and node.arg == name for node in ast.walk(ast.parse(source)))
