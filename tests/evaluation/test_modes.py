"""Evaluation of a model in the mode in which a fit leaves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers import tiny

from vae_zoo.distributions import OptimalNormal
from vae_zoo.evaluation import ais, bidirectional, inference_gaps, likelihood_regret
from vae_zoo.models import VAE, CategoricalVAE, ConditionalVAE
from vae_zoo.system.seeding import forked

X = torch.rand(4, 1, 8, 8)

FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "ais": lambda m: ais(m, X, num_chains=2, num_steps=4).value,
    "bidirectional": lambda m: bidirectional(m, 2, num_chains=2, num_steps=4).lower,
    "gaps": lambda m: inference_gaps(m, X, num_steps=2, num_samples=4, num_importance=8).amortisation,
    "regret": lambda m: likelihood_regret(m, X, num_steps=2, num_samples=4),
    "evidence": lambda m: m.log_evidence(X, num_samples=8),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_training_mode_changes_nothing(name: str) -> None:
    model = tiny(VAE, likelihood=OptimalNormal).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with forked(0, model.device):
        found = FUNCTIONS[name](model)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    with forked(0, model.device):
        assert torch.equal(found, FUNCTIONS[name](model.eval()))


def test_the_evidence_of_codes_is_not_that_of_relaxed_ones() -> None:
    model = tiny(CategoricalVAE)
    with forked(0, model.device):
        found = model.train().log_evidence(X, num_samples=8)
    with forked(0, model.device):
        assert torch.equal(found, model.eval().log_evidence(X, num_samples=8))


def test_values_that_the_model_is_not_of_have_no_evidence() -> None:
    with pytest.raises(ValueError, match=r"Bernoulli needs data in \[0, 1\], got from 0 to 255"):
        tiny(VAE).log_evidence(255 * X.round())
    with pytest.raises(ValueError, match=r"^labels must lie in 0 \.\. 2, got 1 to 3\.$"):
        tiny(ConditionalVAE, num_classes=3).log_evidence(X, torch.tensor([1, 2, 3, 3]))
