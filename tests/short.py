"""The short form of long matrices: some cases run in ``make test``, all of them in ``make test-all``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from zlib import crc32

import pytest
from _pytest.mark import ParameterSet


def few(cases: Iterable[Any], number: int, *keep: Any) -> list[Any]:
    """The cases of ``pytest.mark.parametrize``, all but some of them marked as exhaustive.

    Args:
        cases: A tuple is one case of several arguments.
        number: How many run always, chosen by their names: one case more leaves most of the others where they are.
        keep: Cases, or the first of their arguments, that come before others; a word that is neither makes the choice
            another one.
    """
    cases = list(cases)
    names = [_names(case) for case in cases]
    asked = {name for case in keep for name in _names(case)}

    def order(n: int) -> tuple[bool, bool, int]:
        return (
            _is_exhaustive(cases[n]),
            not asked & {names[n][0], names[n][-1]},
            crc32(" ".join([*sorted(asked), names[n][-1]]).encode()),
        )

    chosen = set(sorted(range(len(cases)), key=order)[:number])
    return [case if n in chosen else _exhaustive(case) for n, case in enumerate(cases)]


def _values(case: Any) -> tuple[Any, ...]:
    if isinstance(case, ParameterSet):
        return tuple(case.values)
    return case if isinstance(case, tuple) else (case,)


def _names(case: Any) -> tuple[str, str]:
    """Of the first argument, and of all."""
    names = [str(getattr(value, "__name__", getattr(value, "name", value))) for value in _values(case)]
    names = [re.sub(r" at 0x[0-9a-f]+", "", name) for name in names]  # which differ from process to process
    return names[0], " ".join(names)


def _is_exhaustive(case: Any) -> bool:
    return isinstance(case, ParameterSet) and any(mark.name == "exhaustive" for mark in case.marks)


def _exhaustive(case: Any) -> ParameterSet:
    if isinstance(case, ParameterSet):
        return case._replace(marks=(*case.marks, pytest.mark.exhaustive))
    return pytest.param(*_values(case), marks=pytest.mark.exhaustive)
