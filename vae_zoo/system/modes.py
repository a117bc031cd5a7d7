"""Evaluation mode for the length of a computation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from torch import nn

F = TypeVar("F", bound=Callable[..., Any])


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Put a model into evaluation mode; afterwards each of its modules is in the mode in which it was."""
    training = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    if training:
        model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def in_evaluation_mode(function: F) -> F:
    """Decorator of functions of a model, their first argument, whose results have no meaning in training mode.

    There, samples may be relaxed, units dropped, and statistics moved by each example that is scored.
    """

    @functools.wraps(function)
    def wrapped(model: Any, *args: Any, **kwargs: Any) -> Any:
        with evaluating(model):
            return function(model, *args, **kwargs)

    return cast("F", wrapped)
