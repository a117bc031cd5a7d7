from __future__ import annotations

import pytest
from broken import FAULTS

from vae_zoo.models import VAE
from vae_zoo.testing import Subject, check, run
from vae_zoo.testing.losses import ONE_GRAPH


@pytest.mark.parametrize(("cls", "names"), FAULTS.items(), ids=lambda v: getattr(v, "__name__", ""))
def test_a_fault_is_named(cls: type[VAE], names: tuple[str, ...]) -> None:
    if "one_graph" in names and not ONE_GRAPH:
        pytest.skip("torch 2.10 breaks the graph of every model, so that one break more is no fault there")
    for name in names:
        outcome = run(name, Subject(cls))
        assert outcome.verdict == "FAIL", outcome


@pytest.mark.parametrize("names", sorted(set(FAULTS.values())))
def test_the_same_checks_pass_without_the_fault(names: tuple[str, ...]) -> None:
    for name in names:
        outcome = run(name, Subject(VAE))
        assert outcome.verdict == "pass", outcome


def test_check_raises_with_the_names(capsys: pytest.CaptureFixture[str]) -> None:
    from broken import WrongSign

    with pytest.raises(AssertionError, match=r"WrongSign: .* failed, .*: .*divergence"):
        check(WrongSign, verbose=True)
    assert "FAIL" in capsys.readouterr().out
