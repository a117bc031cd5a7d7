from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from helpers import losses, tiny
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Distribution,
    Independent,
    SigmoidTransform,
    TransformedDistribution,
    Uniform,
)

from vae_zoo.distributions import DiagonalLaplace, DiagonalNormal, Family, FullNormal, Mixture, Point
from vae_zoo.models import VAE, BetaTCVAE


def pair(**kwargs: Any) -> tuple[VAE, VAE]:
    """A VAE and a β-TCVAE of the same weights."""
    torch.manual_seed(0)
    posterior = {"posterior": kwargs.get("posterior", DiagonalNormal)}
    vae, model = tiny(VAE, num_samples=kwargs.get("num_samples", 1), **posterior), tiny(BetaTCVAE, **kwargs)
    model.load_state_dict(vae.state_dict())
    return vae, model


class Logistic(Family):
    """A user's own posterior: logistic values, for whose divergence there is no closed form."""

    param_shape = (2, 4)

    def distribution(self, params: Tensor) -> Distribution:
        loc, log_scale = params.unbind(1)
        noise = Uniform(torch.zeros_like(loc), torch.ones_like(loc), validate_args=False)
        steps = [SigmoidTransform().inv, AffineTransform(loc, log_scale.exp())]
        return Independent(TransformedDistribution(noise, steps, validate_args=False), 1)


@pytest.mark.parametrize("posterior", [DiagonalNormal, DiagonalLaplace, Logistic])
def test_all_weights_one_is_the_vae(posterior: type[Family], images: Tensor) -> None:
    """With the density of the posterior that draws, whatever it is."""
    vae, model = pair(alpha=1.0, beta=1.0, gamma=1.0, num_samples=2000, posterior=posterior)
    values, expected = losses(model, images), losses(vae, images)
    torch.testing.assert_close(values["mi"] + values["tc"] + values["dw_kl"], values["kl"], rtol=0, atol=0.02)
    torch.testing.assert_close(values["loss"], -values["elbo"], rtol=0, atol=0.02)
    torch.testing.assert_close(values["kl"], expected["kl"])


@pytest.mark.parametrize("annealed", [None, 0.5])
def test_loss_is_the_weighted_sum_of_its_curves(images: Tensor, annealed: float | None) -> None:
    _, model = pair(alpha=0.5, beta=3.0, gamma=2.0, num_samples=3)
    model.kl_weight = None if annealed is None else torch.tensor(annealed)
    v = losses(model, images)
    rate = 0.5 * v["mi"] + 3 * v["tc"] + 2 * v["dw_kl"]
    torch.testing.assert_close(v["loss"], (annealed or 1.0) * rate - v["reconstruction"])


def test_whole_training_set_in_one_batch(images: Tensor) -> None:
    """The estimate of q(z) is then the mixture of all posteriors, and the information at most log N."""
    _, model = pair(num_train=len(images), num_samples=500)
    v = losses(model, images)
    torch.manual_seed(1)
    q = model.encode(images)
    z = q.rsample((500,))
    information = (q.log_prob(z) - Mixture(q).log_prob(z)).mean()
    torch.testing.assert_close(v["mi"], information, rtol=1e-4, atol=1e-5)
    assert 0 < v["mi"] < math.log(len(images)) + 0.05


def test_prior_that_does_not_factorise(images: Tensor) -> None:
    class Mixed(BetaTCVAE):
        def prior(self, c: Tensor | None = None) -> Mixture:
            return Mixture(self.encode(images[:3] * 0.5))

    torch.manual_seed(0)
    model = tiny(Mixed, beta=1.0, num_samples=2000)
    v = losses(model, images)
    torch.testing.assert_close(v["mi"] + v["tc"] + v["dw_kl"], v["kl"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["alpha", "beta", "gamma"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_weights(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be at least 0 and finite, got {value}\.$"):
        tiny(BetaTCVAE, **{name: value})


def test_other_bad_values() -> None:
    with pytest.raises(ValueError, match=r"^num_train must be at least 1, got 0\.$"):
        tiny(BetaTCVAE, num_train=0)
    with pytest.raises(ValueError, match=r"^Point cannot be the posterior of a model with a bound"):
        tiny(BetaTCVAE, posterior=Point)
    with pytest.raises(ValueError, match=r"^BetaTCVAE needs a posterior with independent dimensions, .* FullNormal\.$"):
        tiny(BetaTCVAE, posterior=FullNormal)
