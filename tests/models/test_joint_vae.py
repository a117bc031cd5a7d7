from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import quiet_trainer, tiny, tiny_data
from torch import Tensor

from vae_zoo.callbacks import LinearAnnealing
from vae_zoo.distributions import (
    DiagonalNormal,
    Gumbel,
    Joint,
    JointPrior,
    MixtureNormal,
    Parts,
    StandardNormal,
    UniformCategorical,
    check_pair,
    has_closed_form,
    kl,
    kl_per_dim,
    tempered,
)
from vae_zoo.distributions.supports import contains
from vae_zoo.models import IWAE, VAE, BetaVAE, JointVAE


@pytest.fixture
def model() -> JointVAE:
    torch.manual_seed(0)
    return tiny(JointVAE, latent_dim=3, num_variables=2, num_categories=4)


class TestParts:
    def parts(self) -> tuple[Parts, Parts]:
        family = Joint((7,), num_variables=2, num_categories=2).eval()
        return family(torch.randn(5, *family.param_shape)), JointPrior((7,), num_variables=2, num_categories=2)()

    def test_of_a_vector(self) -> None:
        q, p = self.parts()
        z = q.rsample((9,))
        assert z.shape == (9, 5, 7)
        assert contains(p.support, q.support)
        assert p.support.check(z).all()
        continuous, discrete = q.split(z)
        assert discrete.shape == (9, 5, 2, 2)
        torch.testing.assert_close(q.join([continuous, discrete]), z)
        torch.testing.assert_close(q.log_prob(z), q.parts[0].log_prob(continuous) + q.parts[1].log_prob(discrete))
        torch.testing.assert_close(q.mean, torch.cat([q.parts[0].mean, q.parts[1].mean.flatten(1)], 1))

    def test_divergence_is_that_of_its_parts(self) -> None:
        q, p = self.parts()
        assert has_closed_form(q, p)
        z = q.sample((20_000,))
        rates = kl_per_dim(q, p, z)
        assert rates.shape == (5, 3 + 2)
        continuous, discrete = (kl(a, b, None) for a, b in zip(q.parts, p.parts, strict=True))
        torch.testing.assert_close(rates.sum(1), continuous + discrete)
        ratio = q.log_prob(z) - p.log_prob(z)
        assert ((rates.sum(1) - ratio.mean(0)).abs() < 5 * ratio.std(0) / 20_000**0.5).all()
        other = JointPrior((7,), num_variables=2, num_categories=2, continuous=MixtureNormal)()
        assert not has_closed_form(q, other)
        assert kl_per_dim(q, other, z[:3]).shape == (5, 1 + 2)

    def test_temperature(self) -> None:
        hot = tempered(self.parts()[1], 2.0)
        torch.testing.assert_close(hot.parts[0].stddev, torch.full((3,), 2.0))

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Joint((10,)), r"Joint needs a vector of more than 10 numbers, those of categories, got \(10,\)"),
            (lambda: Joint((2, 20)), r"Joint needs a vector of more than 10 numbers"),
            (lambda: JointPrior((12,), num_variables=0), "num_variables must be at least 1, got 0"),
            (lambda: check_pair(Joint((24,)), JointPrior((24,), num_variables=2)), r"lies on Product\(Real"),
            (lambda: check_pair(Joint((12,)), StandardNormal((12,))), "do not go together"),
            (
                lambda: tiny(IWAE, latent_dim=12, posterior=Joint, prior=JointPrior),
                "weights samples by",
            ),
        ],
    )
    def test_refused(self, make: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            make()

    def test_in_any_model(self, images: Tensor) -> None:
        model = tiny(BetaVAE, latent_dim=12, posterior=Joint, prior=JointPrior)
        model.losses(images)["loss"].backward()
        assert not model.continuous
        assert tiny(VAE, posterior=DiagonalNormal).continuous


def test_rates_of_the_parts(model: JointVAE, images: Tensor) -> None:
    """They add up to the rate; that of equal logits is 0, and that of certainty N log K."""
    values = model.losses(images)
    torch.testing.assert_close(values["kl_continuous"] + values["kl_discrete"], values["kl"])
    p = UniformCategorical((2, 4))()
    for logits, expected in ((torch.zeros(1, 2, 4), 0.0), (1e4 * torch.eye(4)[None, :2], 2 * math.log(4))):
        assert kl(Gumbel((2, 4))(logits), p, None).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("step", [0, 1000, 12_500, 25_000, 60_000])
def test_loss_by_hand(model: JointVAE, images: Tensor, step: int) -> None:
    for schedule in (model.continuous_capacity, model.discrete_capacity):
        schedule.set(step)
    terms = model.elbo(images)
    capacity = 5 * min(1, step / 25_000)
    gaps = (
        (terms.curves["kl_continuous"].mean() - capacity).abs(),
        (terms.curves["kl_discrete"].mean() - min(capacity, 2 * math.log(4))).abs(),
    )
    expected = 30 * (gaps[0] + gaps[1]) - terms.log_px.mean()
    torch.testing.assert_close(model.objective(terms)["loss"], expected)


def test_capacity_of_several_variables() -> None:
    """The limit of N variables is N log K, not log K."""
    model = tiny(JointVAE, num_variables=3, num_categories=10, discrete_capacity=50.0).eval()
    x = torch.rand(4, 1, 8, 8).round()
    assert model.losses(x)["discrete_capacity"].item() == pytest.approx(3 * math.log(10))


def test_no_other_schedule_of_the_rate(model: JointVAE, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="its capacities"):
        quiet_trainer(tmp_path, callbacks=[LinearAnnealing(num_epochs=1)]).fit(model, tiny_data())


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"gamma": -1.0}, "gamma must be at least 0 and finite, got -1"),
        ({"discrete_capacity": math.inf}, "discrete_capacity must be at least 0 and finite, got inf"),
        ({"num_categories": 1}, "num_variables must be at least 1 and num_categories at least 2, got 1 and 1"),
        ({"num_variables": 0}, "num_variables must be at least 1 and num_categories at least 2, got 0 and 10"),
        ({"temperature": 0.0}, "temperature must be positive and finite, got 0"),
    ],
)
def test_bad_values(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(JointVAE, **kwargs)


@pytest.mark.parametrize("name", ["posterior", "prior", "free_bits"])
def test_fixed_arguments(name: str) -> None:
    with pytest.raises(TypeError, match=f"JointVAE takes no {name}: its"):
        tiny(JointVAE, **{name: 0.5 if name == "free_bits" else Gumbel})
