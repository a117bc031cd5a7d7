from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from helpers import LinearGaussian, linear, tiny
from torch import Tensor

from vae_zoo.models import VAE, DenoisingVAE
from vae_zoo.nn import Dense, Erasure, NormalNoise


@pytest.mark.parametrize("corruption", [partial(NormalNoise, sigma=0.0), partial(Erasure, rate=0.0)])
def test_without_corruption_it_is_the_vae(corruption: partial, images: Tensor) -> None:
    model, plain = tiny(DenoisingVAE, corruption=corruption), tiny(VAE)
    plain.load_state_dict(model.state_dict())
    torch.manual_seed(0)
    expected = plain.losses(images)
    torch.manual_seed(0)
    assert all(torch.equal(value, expected[name]) for name, value in model.losses(images).items())


def test_only_the_encoder_sees_it_and_only_in_training(images: Tensor) -> None:
    model = tiny(DenoisingVAE, corruption=partial(NormalNoise, sigma=0.5))
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    terms = model.elbo(images)
    assert 0.4 < (seen[0] - images).std() < 0.6
    torch.testing.assert_close(terms.log_px, model.decode(terms.z).log_prob(images))
    model.eval().elbo(images)
    assert torch.equal(seen[1], images)


class NoisyLinearGaussian(DenoisingVAE, LinearGaussian):
    """The exact posterior, given a corrupted example: a proposal beside the one that is right."""


def test_weights_of_a_corrupted_proposal_have_the_evidence_as_their_mean() -> None:
    torch.manual_seed(0)
    _, x, exact = linear()
    torch.manual_seed(0)
    model = NoisyLinearGaussian(shape=(5,), latent_dim=2, widen=1.3, corruption=partial(NormalNoise, sigma=0.3))
    torch.testing.assert_close(model.exact_evidence(x), exact)
    assert model.training
    num = 40_000
    with torch.no_grad():
        terms = [model.elbo(x, num_samples=num // 40) for _ in range(40)]  # one corruption of x for each
    weights = (torch.cat([term.log_w for term in terms]) - exact).exp()
    errors = torch.stack([(term.log_w - exact).exp().mean(0) for term in terms]).std(0) / 40**0.5
    assert (errors < 0.02).all()
    assert ((weights.mean(0) - 1).abs() < 4.5 * errors).all()
    assert (sum(term.value for term in terms) / 40 < exact).all(), "the bound is below it, by the corruption too"


def test_noise() -> None:
    x = torch.ones(200, 50)
    assert (NormalNoise(sigma=0.3)(x) - x).std().item() == pytest.approx(0.3, rel=0.05)
    erased = Erasure(rate=0.25)(x)
    assert set(erased.unique().tolist()) == {0.0, 1.0}
    assert (erased == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("sigma", [-0.1, math.inf])
def test_bad_values(sigma: float) -> None:
    with pytest.raises(ValueError, match=f"sigma must be at least 0 and finite, got {sigma}"):
        NormalNoise(sigma=sigma)
    with pytest.raises(ValueError, match=r"rate must be at least 0 and below 1, got 1\.0"):
        Erasure(rate=1.0)
    with pytest.raises(TypeError, match="corruption must make a Corruption, got Dense"):
        tiny(DenoisingVAE, corruption=Dense)
