from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import vae_zoo

MODULES = [m.name for m in pkgutil.walk_packages(vae_zoo.__path__, "vae_zoo.") if not m.name.endswith("__main__")]


WHOLE_SUITES = {"vae_zoo.testing"}  # what their examples run is what test_conformance.py runs
CASES = [pytest.param(name, marks=pytest.mark.exhaustive) if name in WHOLE_SUITES else name for name in MODULES]


@pytest.mark.parametrize("name", CASES)
def test_module(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linecache.checkcache", lambda *_: None)  # of all files that are open, for each docstring
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [t for name in MODULES for t in finder.find(importlib.import_module(name)) if t.examples]
    assert len(found) >= 2
