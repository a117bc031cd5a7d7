"""Two levels of latents against explicit sums over levels, and against a normal distribution with a known evidence."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from certainty import Certain, play
from helpers import build, small, tiny
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from vae_zoo.distributions import (
    ConditionalNormal,
    FixedNormal,
    Mixture,
    MixtureNormal,
    StandardLaplace,
    StandardNormal,
)
from vae_zoo.elbo import ELBOMixin
from vae_zoo.models import IWAE, ConditionalVAE, TwoLevelVAE
from vae_zoo.nn import Dense


def two_levels(**kwargs: Any) -> TwoLevelVAE:
    return tiny(TwoLevelVAE, **{"latent_dims": [3, 2], "width": 8, "layer": small, **kwargs})


class TwoLevelIWAE(IWAE, TwoLevelVAE):
    """Two variants in one."""


@pytest.mark.parametrize("prior", [None, StandardNormal, MixtureNormal])
class TestAnyPrior:
    def test_divergence_is_the_mean_log_ratio(self, prior: Any, images: Tensor) -> None:
        model, x = two_levels(prior=prior).double(), images[:2].double()
        for p in model.parameters():
            p.data.mul_(2)  # so that the levels matter
        with torch.no_grad():
            terms = model.elbo(x, num_samples=10_000)
            ratio = terms.log_qz - terms.log_pz
        assert ((ratio.mean(0) - terms.kl).abs() < 4 * ratio.std(0) / 10_000**0.5 + 1e-9).all()
        torch.testing.assert_close(torch.stack(list(terms.curves.values())).sum(0), terms.kl)
        assert list(terms.curves) == ["kl_1", "kl_2"]
        assert all((rate > 0).all() for rate in terms.curves.values())

    def test_densities_are_sums_over_levels(self, prior: Any, images: Tensor) -> None:
        model = two_levels(prior=prior)
        z = model.elbo(images[:2], num_samples=5).z
        lower, upper = z.split([3, 2], -1)
        loc, log_scale = model.generative(upper.flatten(0, 1)).unflatten(0, (5, 2)).unbind(-2)
        log_p = Normal(loc, log_scale.exp()).log_prob(lower).sum(-1)
        if prior is None:
            u = torch.nn.functional.leaky_relu(model.encoder(model.pseudo.clamp(0, 1)))
            centre, spread = model.top(u).unbind(1)
            each = Normal(centre, spread.exp()).log_prob(upper.unsqueeze(-2)).sum(-1)
            log_p = log_p + each.logsumexp(-1) - math.log(len(u))
        else:
            log_p = log_p + model.latent_prior().log_prob(upper)
        torch.testing.assert_close(model.prior().log_prob(z), log_p)

        features = torch.nn.functional.leaky_relu(model.encoder(images[:2]))
        centre, spread = model.top(features).unbind(1)
        log_q = Normal(centre, spread.exp()).log_prob(upper).sum(-1)
        both = torch.cat([features.expand(5, -1, -1), upper], -1).flatten(0, 1)
        loc, log_scale = model.inference(both).unflatten(0, (5, 2)).unbind(-2)
        log_q = log_q + Normal(loc, log_scale.exp()).log_prob(lower).sum(-1)
        torch.testing.assert_close(model.encode(images[:2]).log_prob(z), log_q)

    def test_samples_come_from_its_own_prior(self, prior: Any) -> None:
        model, seen = two_levels(prior=prior), []
        decode = model.decode
        model.decode = lambda z, c=None: seen.append(z) or decode(z, c)  # type: ignore[method-assign, assignment]
        assert model.sample(2000).shape == (2000, 1, 8, 8)
        with torch.no_grad():
            own, other = model.prior().log_prob(seen[0]), model.prior().log_prob(model.prior().sample((2000,)))
        assert (own.mean() - other.mean()).abs() < 4 * ((own.var() + other.var()) / 2000).sqrt()


def test_evidence_and_bounds_of_a_linear_model() -> None:
    torch.manual_seed(2)
    line = partial(Dense, hidden=[])
    parts = {"decoder": line, "layer": line, "likelihood": partial(FixedNormal, scale=0.5), "prior": StandardNormal}
    model = two_levels(shape=(3,), latent_dims=[2, 1], **parts).double()
    weight, bias = model.generative.layers[1].weight, model.generative.layers[1].bias
    out = model.decoder.layers[1]
    with torch.no_grad():
        weight.normal_()
        bias.normal_()
        weight[2:] = 0  # of the scales
        out.weight.normal_()
    upper = torch.eye(1).double()
    lower = weight[:2] @ weight[:2].T + torch.diag(torch.exp(2 * bias[2:]))
    across = weight[:2]
    joint = torch.cat([torch.cat([lower, across], 1), torch.cat([across.T, upper], 1)])
    mean = torch.cat([bias[:2], torch.zeros(1).double()])
    covariance = out.weight @ joint @ out.weight.T + 0.25 * torch.eye(3).double()
    exact = MultivariateNormal(out.weight @ mean + out.bias, covariance)
    with torch.no_grad():
        x = model.sample(4, mean=False)
        expected = exact.log_prob(x)
        torch.testing.assert_close(model.log_evidence(x, num_samples=60_000), expected, rtol=0, atol=0.15)
        assert (model.elbo(x, num_samples=4000).value < expected).all()


def test_is_what_the_generic_bound_gives(images: Tensor) -> None:
    model, found = two_levels(), []
    for elbo in (model.elbo, partial(ELBOMixin.elbo, model)):
        torch.manual_seed(0)
        found.append(elbo(images[:2], num_samples=3))
    for name in ("z", "log_px", "log_pz", "log_qz", "log_w"):
        torch.testing.assert_close(getattr(found[0], name), getattr(found[1], name))


def test_the_decoder_gets_both_levels() -> None:
    model = two_levels()
    z = torch.zeros(1, 5, requires_grad=True)
    (grad,) = torch.autograd.grad(model.decode(z).mean.sum(), z)
    assert (grad != 0).all()


def test_pseudo_inputs_are_those_of_the_vamp_prior_alone(images: Tensor) -> None:
    model = two_levels(num_pseudo=4, pseudo_std=0.0)
    assert isinstance(model.prior().top, Mixture)
    model.initialise(images)
    assert all(any(torch.equal(u, x) for x in images) for u in model.pseudo)
    other = two_levels(prior=StandardNormal)
    other.initialise(images)
    assert other.pseudo is None
    assert not any("pseudo" in name for name in other.state_dict())


def test_temperature(images: Tensor) -> None:
    model = two_levels()
    torch.manual_seed(0)
    cold = model.sample(8, temperature=1e-3)
    assert cold.shape == (8, 1, 8, 8)


def test_combines(images: Tensor) -> None:
    values = tiny(TwoLevelIWAE, latent_dims=[3, 2], num_samples=4).losses(images)
    assert values["bound"] == -values["loss"] > values["elbo"]


@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [200, pytest.param(2000, marks=pytest.mark.exhaustive)])
def test_no_training_takes_a_bound_above_the_evidence(num_steps: int) -> None:
    torch.manual_seed(0)
    linear = partial(Dense, hidden=[])
    parts = {"encoder": linear, "decoder": linear, "layer": linear, "likelihood": Certain, "width": 4}
    model = TwoLevelVAE(shape=(2,), latent_dims=[1, 1], num_pseudo=2, in_unit_interval=False, **parts)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(2)
    bound, error = play(model, torch.tensor([[1.0, -0.5], [0.3, 2.0]]), num_steps=num_steps, num_samples=8)
    assert -2 < bound < 4 * error


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"latent_dims": [3]}, r"latent_dims must be two numbers of at least 1, got \[3\]."),
        ({"latent_dims": [3, 0]}, r"latent_dims must be two numbers of at least 1, got \[3, 0\]."),
        (
            {"latent_dims": [3, 2], "latent_dim": 4},
            "latent_dim is 4, but latent_dims add up to 5: give one of the two.",
        ),
        ({"latent_dim": 1}, "latent_dim must be at least 2, one for each level, got 1."),
        ({"width": 0}, "width must be at least 1, got 0."),
    ],
)
def test_bad_values(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(TwoLevelVAE, **kwargs)


def test_what_does_not_go_together(images: Tensor) -> None:
    with pytest.raises(TypeError, match="a pseudo-input has no class to be encoded with"):
        type("Conditional", (ConditionalVAE, TwoLevelVAE), {})(shape=(1, 8, 8), num_classes=3)
    assert two_levels(prior=StandardLaplace).losses(images)["elbo"].isfinite()
    conditional = two_levels(prior=partial(ConditionalNormal, num_classes=3))
    assert conditional.losses(images, torch.arange(16) % 3)["elbo"].isfinite()
