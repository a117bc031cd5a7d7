"""The short form of the suite, and the exhaustive cases that a change adds."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from short import few

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def changed() -> Any:
    path = TESTS.parent / ".ci" / "changed.py"
    if not path.exists():
        pytest.skip("a source distribution has no .ci")
    spec = importlib.util.spec_from_file_location("changed", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kept(cases: list[Any]) -> list[Any]:
    return [case for case in cases if not hasattr(case, "marks")]


def test_few_keeps_as_many_as_it_says_and_those_that_are_named() -> None:
    letters = list("abcdefghij")
    cases = few(letters, 3, "g")
    assert len(cases) == 10
    assert len(kept(cases)) == 3
    assert "g" in kept(cases)
    assert kept(few([(letter, 1) for letter in letters], 1, "b")) == [("b", 1)]
    assert kept(few(letters, 3)) != kept(few(letters, 3, "another choice"))
    assert len(set(kept(few([*letters, "k"], 3))) & set(kept(few(letters, 3)))) >= 2


def test_every_exhaustive_case_belongs_to_an_area(changed: Any) -> None:
    covered: set[Path] = set()
    for globs in changed.AREAS.values():
        for glob in globs.split():
            found = list(TESTS.glob(glob))
            assert found, f"{glob} matches nothing"
            for path in found:
                covered |= set(path.rglob("test_*.py")) if path.is_dir() else {path}
    marked = {path for path in TESTS.rglob("test_*.py") if re.search(r"\bexhaustive\b|import few\b", path.read_text())}
    assert marked - covered <= {Path(__file__)}


@pytest.mark.parametrize(
    ("path", "test"),
    [
        ("vae_zoo/models/base/vae.py", "tests/testing"),
        ("vae_zoo/security/trust.py", "tests/security"),
        ("docs/data.md", "tests/test_docs.py"),
        ("tests/test_elbo.py", "tests/test_elbo.py"),
    ],
)
def test_a_change_asks_for_its_area(changed: Any, path: str, test: str) -> None:
    found = changed.tests([path])
    assert test in found
    assert "tests/cli" not in found
