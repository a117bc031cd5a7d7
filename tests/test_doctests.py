from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import vae_zoo

MODULES = [m.name for m in pkgutil.walk_packages(vae_zoo.__path__, "vae_zoo.") if not m.name.endswith("__main__")]


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [t for name in MODULES for t in finder.find(importlib.import_module(name)) if t.examples]
    assert len(found) >= 2
