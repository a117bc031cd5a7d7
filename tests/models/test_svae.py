from __future__ import annotations

import math

import pytest
import torch
from helpers import losses, tiny
from torch import Tensor

from vae_zoo.distributions import Point, StandardNormal, VonMisesFisher
from vae_zoo.distributions.supports import Sphere
from vae_zoo.models import IWAE, SVAE


@pytest.fixture
def model() -> SVAE:
    torch.manual_seed(0)
    return tiny(SVAE)


def test_latents_are_unit_vectors(model: SVAE, images: Tensor) -> None:
    assert Sphere(4).check(model.elbo(images, num_samples=3).z).all()
    assert Sphere(4).check(model.embed(images)).all()
    assert Sphere(4).check(model.prior().sample((5,))).all()


def test_the_density_of_evidence_is_that_of_training(model: SVAE, images: Tensor) -> None:
    """One concentration for samples, divergence and weights: log p(x) of a decoder that ignores z is its log p(x|z)."""
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.zero_()
        log_p = model.log_evidence(images, num_samples=4000)
        exact = model.decode(torch.zeros(len(images), 4)).log_prob(images)
    torch.testing.assert_close(log_p, exact, rtol=0, atol=0.05)


def test_a_bound_on_nothing_stays_below_nothing(images: Tensor) -> None:
    """With p(x|z) = 1 the bound is at most log p(x) = 0, whatever the posterior learns."""
    torch.manual_seed(0)
    model = tiny(SVAE)
    optimizer = torch.optim.Adam(model.encoder.parameters(), lr=0.05)
    for _ in range(30):
        q, p = model.encode(images), model.prior()
        z = q.rsample((20,))
        bound = (p.log_prob(z) - q.log_prob(z)).mean()
        optimizer.zero_grad()
        (-bound).backward()
        optimizer.step()
    with torch.no_grad():
        q = model.encode(images)
        z = q.sample((2000,))
        gaps = (model.prior().log_prob(z) - q.log_prob(z)).mean(0)
    assert (gaps < 1e-3).all()
    assert (gaps > -0.2).all()


def test_free_bits_have_one_floor(images: Tensor) -> None:
    """λ times the number of coordinates, of the whole divergence."""
    torch.manual_seed(0)
    free, model = tiny(SVAE, free_bits=0.5), tiny(SVAE)
    model.load_state_dict(free.state_dict())
    plain, floored = losses(model, images), losses(free, images)
    expected = 4 * 0.5 - plain["kl"].item()
    assert (floored["loss"] - plain["loss"]).item() == pytest.approx(expected, rel=1e-4)


def test_goes_with_importance_weights(images: Tensor) -> None:
    class SphericalIWAE(SVAE, IWAE):
        pass

    torch.manual_seed(0)
    model = tiny(SphericalIWAE, num_samples=5)
    found = losses(model, images)
    assert found["loss"].isfinite()
    assert math.isfinite(found["elbo"].item())


def test_priors_elsewhere_are_refused() -> None:
    with pytest.raises(ValueError, match="VonMisesFisher and StandardNormal do not go together: the prior lies on"):
        tiny(SVAE, prior=StandardNormal)
    with pytest.raises(ValueError, match="vectors of at least 2 numbers, got shape"):
        tiny(SVAE, latent_dim=1)
    with pytest.raises(ValueError, match="has no density"):
        tiny(SVAE, posterior=Point)
    assert isinstance(tiny(SVAE).posterior, VonMisesFisher)
