"""Routes of combined models: those that one class declares hold within the objective of another."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from broken.terms import SMALL, LatentCritic

from vae_zoo.models import IWAE, VQVAE, BetaVAE, FactorVAE
from vae_zoo.nn import EMACodebook
from vae_zoo.testing import Subject, run


class BetaFactor(FactorVAE, BetaVAE): ...


class FactorIWAE(FactorVAE, IWAE): ...


class Renamed(FactorVAE):
    def routes(self) -> dict[str, dict[str, float]]:
        return {"critic": {"discriminator_loss": 1.0}}


class Unknown(FactorVAE):
    def routes(self) -> dict[str, dict[str, float]]:
        return {"discriminator": {"loss_of_the_discriminator": 1.0}}


@pytest.mark.parametrize(
    ("cls", "kwargs"),
    [
        (BetaFactor, {"discriminator": SMALL, "beta": 3.0}),
        (FactorIWAE, {"discriminator": SMALL}),
        (FactorVAE, {"discriminator": SMALL, "free_bits": 0.5}),
        (FactorVAE, {"discriminator": SMALL, "penalties": [LatentCritic, partial(LatentCritic, weight=0.5)]}),
        (VQVAE, {"codebook": EMACodebook, "beta": 2.0}),
    ],
)
def test_hold_in_combinations(cls: type, kwargs: dict[str, Any]) -> None:
    outcome = run("routing", Subject(cls, **kwargs))
    assert outcome.verdict == "pass", outcome


@pytest.mark.parametrize(("cls", "said"), [(Renamed, "no parameter is called critic"), (Unknown, "does not give")])
def test_names_that_do_not_exist(cls: type, said: str) -> None:
    outcome = run("routing", Subject(cls, discriminator=SMALL))
    assert outcome.verdict == "FAIL"
    assert said in outcome.measured
