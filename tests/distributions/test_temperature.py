from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import REAL_PRIORS, tiny
from torch import Tensor
from torch.distributions import Distribution, Independent, Uniform

from vae_zoo.distributions import FullNormal, Mixture, Normal, Prior, check_temperature, tempered
from vae_zoo.distributions.normal import independent
from vae_zoo.models import LadderVAE, VampVAE
from vae_zoo.nn import CodePrior


def mass_and_spread(p: Distribution) -> tuple[float, float]:
    """Integral of a density over a line, and its standard deviation."""
    x = torch.linspace(-12, 12, 4801)[:, None]
    density = p.log_prob(x).exp() * 0.005
    mean = (density * x[:, 0]).sum()
    return density.sum().item(), (density * (x[:, 0] - mean).square()).sum().sqrt().item()


@pytest.mark.parametrize("cls", REAL_PRIORS, ids=lambda cls: cls.__name__)
def test_every_prior_of_the_zoo(cls: type[Prior]) -> None:
    torch.manual_seed(1)
    p = cls((1,))()
    with torch.no_grad():
        hot, same = tempered(p, 1.5), tempered(p, 1.0)
        mass, spread = mass_and_spread(hot)
        assert mass == pytest.approx(1, abs=2e-3)
        torch.manual_seed(0)
        drawn = hot.sample((20000,))
        assert drawn.std().item() == pytest.approx(spread, rel=0.04)
        assert spread > mass_and_spread(p)[1] * 1.05
        z = torch.linspace(-2, 2, 5)[:, None]
        torch.testing.assert_close(same.log_prob(z), p.log_prob(z))


@pytest.mark.parametrize("cls", REAL_PRIORS, ids=lambda cls: cls.__name__)
def test_a_cold_prior_draws_from_its_centres(cls: type[Prior]) -> None:
    p = cls((2,))()
    with torch.no_grad():
        drawn = tempered(p, 1e-4).sample((200,))
        again = tempered(p, 1e-4).sample((200,))
    centres = getattr(getattr(p, "component_distribution", p), "mean", torch.zeros(2)).reshape(-1, 2)
    assert torch.cdist(drawn, centres).amin(1).max() < 0.01
    assert not torch.equal(drawn, again)


def test_the_standard_deviation_of_a_normal_prior() -> None:
    p = independent(Normal(torch.tensor([1.0, -2.0]), torch.tensor([0.5, -0.5])), 1)
    hot = tempered(p, 0.7)
    torch.testing.assert_close(hot.mean, p.mean)
    torch.testing.assert_close(hot.stddev, 0.7 * p.stddev)
    plain = Independent(torch.distributions.Normal(p.mean, p.stddev), 1)
    torch.testing.assert_close(tempered(plain, 0.7).stddev, hot.stddev)


def test_mixture_of_posteriors() -> None:
    full = FullNormal((2,))
    components = full(torch.randn(5, *full.param_shape))
    hot = tempered(Mixture(components), 2.0)
    torch.testing.assert_close(hot.components.mean, components.mean)
    torch.testing.assert_close(hot.components.stddev, 2 * components.stddev)
    assert hot.log_prob(torch.zeros(3, 2)).isfinite().all()
    model = tiny(VampVAE)
    z = tempered(model.prior(), 1e-4).sample((50,))
    assert torch.cdist(z, model.prior().components.mean).amin(1).max() < 0.01


def test_every_layer_given_the_one_above() -> None:
    model = tiny(LadderVAE, latent_dims=[2, 2])
    hot, z = tempered(model.prior(), 3.0), torch.randn(7, 4)
    for layer, cold in zip(hot.layers(z), model.prior().layers(z), strict=True):
        torch.testing.assert_close(layer.mean, cold.mean)
        torch.testing.assert_close(layer.stddev, 3 * cold.stddev)
    assert hot.sample((5,)).shape == (5, 4)


def test_codes() -> None:
    prior = CodePrior((3,), 5)
    with torch.no_grad():
        prior.head.weight.zero_()  # every place alike
        prior.head.bias.copy_(torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]))

    def share(temperature: float) -> float:
        torch.manual_seed(0)
        return (prior.sample(500, temperature=temperature) == 1).float().mean().item()

    assert share(1e-3) > 0.99 > share(0.5) > share(1.0) > share(10.0)
    logits: Tensor = prior._log_probs(torch.zeros(1, 0, dtype=torch.long))[0, 0] / 0.5
    torch.manual_seed(0)
    first = prior.sample(4000, temperature=0.5)[:, 0]
    torch.testing.assert_close(torch.bincount(first, minlength=5) / 4000, logits.softmax(0).detach(), atol=0.03, rtol=0)
    for bad in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="temperature must be positive and finite"):
            prior.sample(1, temperature=bad)


def test_what_has_no_scale_is_refused() -> None:
    uniform = Independent(Uniform(torch.zeros(2), torch.ones(2)), 1)
    with pytest.raises(ValueError, match="a temperature means nothing here: Uniform has no scale"):
        tempered(uniform, 0.5)
    for bad in (0.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="positive and finite"):
            check_temperature(bad)


def test_another_kind_can_be_added() -> None:
    class Own(Uniform): ...

    tempered.register(Own, partial(lambda p, temperature: ("own", temperature)))
    assert tempered(Own(0.0, 1.0), 0.5) == ("own", 0.5)
