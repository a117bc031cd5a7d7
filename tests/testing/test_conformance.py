"""Every model of the zoo passes every check that applies to it: a new one adds its name to nothing."""

from __future__ import annotations

from functools import partial

import pytest
from helpers import BOUNDS, MODELS

from vae_zoo.models import Autoencoder, FactorVAE
from vae_zoo.nn import Discriminator
from vae_zoo.testing import CHECKS, Subject, bounds, run

SMALLER = {FactorVAE: {"discriminator": partial(Discriminator, hidden=[32, 32])}}  # its own is of five million weights
DO_NOT_APPLY = {"the model has no bound"}


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("cls", MODELS)
def test_check(cls: type[Autoencoder], name: str) -> None:
    outcome = run(name, Subject(cls, **SMALLER.get(cls, {})))
    assert outcome.verdict != "FAIL", outcome
    if outcome.verdict == "skip":
        if name == "one_graph" and not cls.compilable:
            pytest.skip(outcome.measured)
        assert cls not in BOUNDS, outcome
        assert name in [check.__name__ for check in bounds.CHECKS], outcome
        pytest.skip(outcome.measured)
