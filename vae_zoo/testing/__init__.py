"""The conformance suite: checks that every model must pass before its metrics can be trusted."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from typing import Any

from vae_zoo.testing import bounds, coding, likelihood, losses, penalties, running, terms, unit
from vae_zoo.testing.outcomes import Outcome, Report
from vae_zoo.testing.subject import Found, SkipCheck, Subject

__all__ = ["CHECKS", "Found", "Outcome", "Report", "SkipCheck", "Subject", "check", "examine"]

CHECKS: dict[str, Callable[[Subject], Found]] = {
    function.__name__: function
    for part in (losses, terms, penalties, bounds, unit, likelihood, coding, running)
    for function in part.CHECKS
}
"""Checks by name, in the order of the table."""


def check(factory: Callable[..., Any], *, verbose: bool = True, **kwargs: Any) -> Report:
    """Run the conformance suite on a model, and print a table of results.

    Args:
        factory: A class, or a function from ``shape`` and further arguments to a model.
        verbose: Whether to print the table.
        kwargs: Arguments of every model.

    Returns:
        One outcome for each check.

    Raises:
        AssertionError: If a check fails, with the names of all that did.

    Example:
        >>> from vae_zoo.models import VAE
        >>> check(VAE, verbose=False).passed
        True
    """
    report = examine(factory, **kwargs)
    if verbose:
        report.show()
    assert report.passed, report.summary()
    return report


def examine(factory: Callable[..., Any], *, only: tuple[str, ...] = (), **kwargs: Any) -> Report:
    """The same as :func:`check`, without printing or raising.

    Args:
        factory: A class, or a function that returns a model.
        only: Names of the checks to run; all by default.
        kwargs: Arguments of every model.

    Raises:
        ValueError, TypeError: If the factory cannot make a model with these arguments.
    """
    subject = Subject(factory, **kwargs)
    subject.build()
    return Report(subject.name, [run(name, subject) for name in only or CHECKS])


def run(name: str, subject: Subject) -> Outcome:
    """Run one check; an error in the model counts as a failure, with its message."""
    function = CHECKS[name]
    what = " ".join((function.__doc__ or "").split())
    level = logging.root.manager.disable
    logging.disable(logging.INFO)  # Lightning says on each fit what it finds on the machine
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = function(subject)
    except SkipCheck as reason:
        return Outcome(name, "skip", str(reason), "", what)
    except Exception as error:
        message = " ".join(str(error).split())[:160]
        return Outcome(name, "FAIL", f"{type(error).__name__}: {message}", "", what)
    finally:
        logging.disable(level)
    return Outcome(name, "pass" if found.passed else "FAIL", found.measured, found.bound, what)
