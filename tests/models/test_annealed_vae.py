"""The VAE of controlled capacity."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import build, quiet_trainer, tiny, tiny_data
from torch import Tensor

from vae_zoo.callbacks import ControlledRate, LinearAnnealing
from vae_zoo.elbo import ELBO
from vae_zoo.models import AnnealedVAE


@pytest.fixture
def elbo(images: Tensor) -> ELBO:
    torch.manual_seed(0)
    return build(AnnealedVAE).elbo(images)


def rate(elbo: ELBO, *values: float) -> ELBO:
    kl = torch.tensor(values, requires_grad=True)
    return elbo._replace(kl=kl, log_px=torch.zeros(1, len(values)))


@pytest.mark.parametrize(("step", "slope"), [(0, 1.0), (10, -1.0)])
def test_the_gradient_is_gamma_towards_the_capacity(elbo: ELBO, step: int, slope: float) -> None:
    model = build(AnnealedVAE, gamma=30.0, capacity=5.0, num_steps=10)
    model.capacity.set(step)
    terms = rate(elbo, 1.0, 3.0)
    model.objective(terms)["loss"].backward()
    torch.testing.assert_close(terms.kl.grad, torch.full((2,), slope * 30 / 2))


def test_the_distance_is_that_of_the_mean_unless_asked(elbo: ELBO) -> None:
    model = build(AnnealedVAE, gamma=1.0, capacity=1.0, num_steps=1).eval()
    assert model.objective(rate(elbo, 0.0, 2.0))["loss"].item() == 0
    model.per_example = True
    assert model.objective(rate(elbo, 0.0, 2.0))["loss"].item() == 1


def test_validation_uses_the_capacity_at_the_end_and_moves_nothing() -> None:
    model = build(AnnealedVAE, capacity=8.0, num_steps=100)
    model.capacity.set(25)
    assert model.capacity() == 2.0
    assert model.eval().capacity() == 8.0
    assert model.train().capacity() == 2.0


def test_refuses_a_second_schedule(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="AnnealedVAE takes no free_bits: its capacity sets the rate"):
        build(AnnealedVAE, free_bits=0.1)
    for argument in ("gamma", "capacity"):
        with pytest.raises(ValueError, match=f"{argument} must be at least 0 and finite, got -1"):
            build(AnnealedVAE, **{argument: -1.0})
    for callback in (LinearAnnealing(num_epochs=1), ControlledRate(target=5.0)):
        trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[callback])
        line = f"AnnealedVAE has its capacity, which {type(callback).__name__} would work against"
        with pytest.raises(ValueError, match=line):
            trainer.fit(tiny(AnnealedVAE), tiny_data())
