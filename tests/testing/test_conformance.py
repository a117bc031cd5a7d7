"""Every model of the zoo passes every check that applies to it: a new one adds its name to nothing.

The long checks run on all models in the whole suite, and on some, others for each check, in its short form.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

import pytest
from helpers import BOUNDS, MODELS
from short import few

from vae_zoo.evaluation.coding import refusal
from vae_zoo.models import DFCVAE, MSSSIMVAE, RAESN, RHVAE, VAE, Autoencoder, AutoencoderKL, FactorVAE, VampVAE
from vae_zoo.nn import Discriminator
from vae_zoo.testing import CHECKS, Subject, bounds, run, unit

SMALLER = {
    FactorVAE: {"discriminator": partial(Discriminator, hidden=[32, 32])},  # its own is of five million weights
    RHVAE: {"num_centroids": 6},  # of 50
    VampVAE: {"num_pseudo": 6},  # of 500
}
LONG = {
    "one_graph": 2, "divergence": 3, "elbo_below_evidence": 3, "evidence_grows": 3, "objective": 3, "checkpoints": 3,
    "resuming": 3, "processes": 3, "steps": 8, "shapes": 8, "learning": 24,
    "unit_likelihood": 12, "evidence_exact": 12, "likelihood_mass": 3,
}  # fmt: skip
"""On how many models checks run in the short form that take long, or that find what most models share."""


def cases(name: str) -> list[Any]:
    pairs = [(cls, name) for cls in MODELS]
    return few(pairs, LONG[name], VAE, name) if name in LONG else pairs


@cache
def subject(cls: type[Autoencoder]) -> Subject:
    return Subject(cls, **SMALLER.get(cls, {}))


@pytest.mark.parametrize(("cls", "name"), [case for name in CHECKS for case in cases(name)])
def test_check(cls: type[Autoencoder], name: str) -> None:
    outcome = run(name, subject(cls))
    assert outcome.verdict != "FAIL", outcome
    if outcome.verdict == "skip":
        bound = name in [check.__name__ for check in (*bounds.CHECKS, *unit.CHECKS)]
        known = cls in BOUNDS and cls.reports == "E"
        applies = {
            "one_graph": cls.compilable and "torch" not in outcome.measured,
            "likelihood_mass": False,  # theirs are those of the package
            "routing": False,
            "penalty_sign": False,
            "code_length": known
            and cls is not AutoencoderKL
            and not refusal(subject(cls).bound()),  # too wide untrained
            "autocast": cls not in (DFCVAE, MSSSIMVAE),
            "learning": not cls.game,
            "tiling": not cls.game and cls is not RAESN,  # whose weights cannot be 0
        }
        assert not applies.get(name, known or not bound), outcome
        pytest.skip(outcome.measured)
