from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from broken import FAULTS, RIGHT

from vae_zoo.models import Autoencoder
from vae_zoo.testing import CHECKS, Subject, check, run
from vae_zoo.testing.losses import ONE_GRAPH


def cases() -> Iterator[Any]:
    """Every fault with the check that names it, and in the whole suite with the others that it fails."""
    for cls, (first, *others) in FAULTS.items():
        yield cls, first
        for name in others:
            yield pytest.param(cls, name, marks=pytest.mark.exhaustive)


@pytest.mark.parametrize(("cls", "name"), list(cases()))
def test_a_fault_is_named(cls: type[Autoencoder], name: str) -> None:
    """The same checks pass without the fault: test_conformance.py runs them on the VAE."""
    if name == "one_graph" and not ONE_GRAPH:
        pytest.skip("torch 2.10 breaks the graph of every model, so that one break more is no fault there")
    outcome = run(name, Subject(cls))
    assert outcome.verdict == "FAIL", outcome


@pytest.mark.parametrize(("cls", "name"), [(cls, name) for cls, names in RIGHT.items() for name in names])
def test_the_same_without_the_fault_passes(cls: type[Autoencoder], name: str) -> None:
    outcome = run(name, Subject(cls))
    assert outcome.verdict == "pass", outcome


def test_check_raises_with_the_names(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from broken.bounds import WrongSign

    monkeypatch.setattr("vae_zoo.testing.CHECKS", {name: CHECKS[name] for name in ("gradients", "divergence")})
    with pytest.raises(AssertionError, match=r"WrongSign: 1 passed, 1 failed, .*: divergence"):
        check(WrongSign, verbose=True)
    assert "FAIL" in capsys.readouterr().out
