from __future__ import annotations

import itertools
import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import build, quiet_trainer, small, tiny, tiny_data
from lightning.pytorch import Callback, Trainer
from torch import Tensor

from vae_zoo.distributions import (
    DiagonalNormal,
    Dirichlet,
    DirichletPrior,
    FixedNormal,
    Gumbel,
    LearnedCategorical,
    OneHot,
    UniformCategorical,
    check_pair,
    kl,
    tempered,
)
from vae_zoo.evaluation.ais import ais
from vae_zoo.models import (
    CIWAE,
    IWAE,
    MIWAE,
    VAE,
    BetaVAE,
    CategoricalVAE,
    ConditionalVAE,
    FactorVAE,
    GammaVAE,
    IWAEDReG,
)
from vae_zoo.nn import Constant, Exponential
from vae_zoo.testing import oracle
from vae_zoo.testing.subject import Subject


class TestDistribution:
    def test_divergence(self) -> None:
        """0 of equal logits, log K of certainty, and against torch's; of each variable."""
        q = Gumbel((2, 5))(torch.stack([torch.zeros(2, 5), 1000 * torch.eye(5)[:2], torch.randn(2, 5)]))
        found = kl(q, UniformCategorical((2, 5))(), q.sample((1,)))
        assert found[0] == pytest.approx(0, abs=1e-6)
        assert found[1] == pytest.approx(2 * math.log(5), rel=1e-6)
        plain = torch.distributions.Categorical(logits=q.logits)
        expected = torch.distributions.kl_divergence(plain, torch.distributions.Categorical(torch.ones(2, 5))).sum(1)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found, 2 * math.log(5) - q.entropy(), rtol=1e-5, atol=1e-5)

    def test_probabilities_of_all_values_add_up_to_one(self) -> None:
        p = OneHot(torch.randn(2, 3).double(), 2)
        z = p.enumerate_support()
        assert z.shape == (p.num_values, 2, 3) == (9, 2, 3)
        assert len({tuple(row.flatten().tolist()) for row in z}) == 9
        torch.testing.assert_close(p.log_prob(z).exp().sum(), torch.tensor(1.0).double())
        assert p.support.check(z).all()
        torch.testing.assert_close((p.log_prob(z).exp()[:, None, None] * z).sum(0), p.mean)

    def test_draws_follow_the_probabilities(self) -> None:
        torch.manual_seed(0)
        q = Gumbel((4,)).eval()(torch.randn(1, 4))
        z = q.rsample((100_000,))
        assert set(z.unique().tolist()) == {0.0, 1.0}
        assert not z.requires_grad
        torch.testing.assert_close(z.mean(0), q.mean, rtol=0, atol=0.006)
        torch.testing.assert_close(q.stddev, (q.mean * (1 - q.mean)).sqrt())

    @pytest.mark.parametrize("straight_through", [False, True])
    def test_relaxed_in_training(self, straight_through: bool) -> None:
        torch.manual_seed(0)
        family = Gumbel((3, 4), temperature=0.5, straight_through=straight_through)
        logits = torch.randn(5, 3, 4).requires_grad_()
        z = family(logits).rsample((50,))
        assert (((z == 0) | (z == 1)).all()) == straight_through
        torch.testing.assert_close(z.sum(-1), torch.ones(50, 5, 3))
        (z * torch.arange(4.0)).sum().backward()
        assert (logits.grad != 0).all()
        assert set(family(logits).sample().unique().tolist()) == {0.0, 1.0}

    def test_a_low_temperature_gives_one_hot_vectors(self) -> None:
        torch.manual_seed(0)
        z = Gumbel((6,), temperature=1e-3)(torch.zeros(1000, 6)).rsample()
        assert ((z > 0.999) | (z < 0.001)).float().mean() > 0.99

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_gradients_of_a_half_precision_network_are_finite(self, dtype: torch.dtype) -> None:
        torch.manual_seed(0)
        logits = (5 * torch.randn(2000, 6)).to(dtype).requires_grad_()
        z = Gumbel((6,), temperature=0.5)(logits).rsample((50,))
        assert z.dtype == torch.float32
        z.square().sum().backward()
        assert logits.grad.isfinite().all()
        assert logits.grad.float().var() < 1e4

    def test_temperature_of_a_prior(self) -> None:
        p = OneHot(torch.randn(2, 3), 2)
        torch.testing.assert_close(tempered(p, 0.5).logits, (2 * p.logits).log_softmax(-1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gumbel((4,), temperature=0), "temperature must be positive and finite, got 0"),
        (lambda: Gumbel((4, 1)), r"Gumbel needs a last side of at least 2, got events of shape \(4, 1\)"),
        (lambda: check_pair(Gumbel((4,)), LearnedCategorical((5,))), "latents are of shape"),
        (lambda: tiny(CategoricalVAE, num_categories=1), "num_categories must be at least 2, got 1"),
        (lambda: tiny(VAE, posterior=Gumbel), r"Gumbel and StandardNormal do not go together: the prior lies on Real"),
        (lambda: tiny(VAE, prior=UniformCategorical), "the prior lies on OneHot.*, the posterior draws from Real"),
        (
            lambda: tiny(CategoricalVAE, posterior=Dirichlet, prior=DirichletPrior),
            "sets the temperature of its posterior, and Dirichlet has",
        ),
        (lambda: tiny(FactorVAE, posterior=Gumbel, prior=UniformCategorical), "permutes single dimensions"),
        *(
            (partial(tiny, cls, posterior=Gumbel, prior=UniformCategorical), "weights samples by their densities")
            for cls in (IWAE, MIWAE, IWAEDReG, CIWAE)
        ),
    ],
)
def test_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_refused_in_combination() -> None:
    class Weighted(IWAE, CategoricalVAE):
        pass

    with pytest.raises(
        ValueError, match="Weighted weights samples by their densities, and those of Gumbel are relaxed"
    ):
        tiny(Weighted)


def enumerated(model: Any, x: Tensor) -> Tensor:
    """log p(x) as a sum over all latents, by hand."""
    num, size = model.latent_shape
    log_px = []
    for values in itertools.product(range(size), repeat=num):
        z = torch.nn.functional.one_hot(torch.tensor(values), size).to(x.dtype)
        log_px.append(model.decode(z.expand(len(x), num, size)).log_prob(x) - num * math.log(size))
    return torch.logsumexp(torch.stack(log_px), 0)


@torch.no_grad()
def test_exact_bound_of_the_discrete_model() -> None:
    """In evaluation the ELBO is below log p(x), which importance weights reach; in training it is a surrogate."""
    model = Subject(CategoricalVAE, num_categories=3).linear_gaussian()
    torch.manual_seed(0)
    for p in model.parameters():
        p.mul_(3)
    x = model.sample(6, mean=False)
    exact = enumerated(model, x)
    found, error = oracle.evidence(model, x, None)
    torch.testing.assert_close(found, exact)
    assert not error.any()
    terms = model.elbo(x, num_samples=2000)
    assert (terms.value < exact).all()
    torch.testing.assert_close(terms.value, terms.log_w.mean(0), rtol=0, atol=0.15)
    weighted = model.evidence(x, num_samples=20_000)
    assert ((weighted.value - exact).abs() < 4.5 * weighted.error).all()
    relaxed = model.train().elbo(x, num_samples=2000)
    assert ((relaxed.value - terms.value).abs() > 0.15).any()


class Temperatures(Callback):
    """Keeps the step and the temperature of every batch."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, float]] = []

    def on_before_backward(self, trainer: Trainer, pl_module: Any, loss: Tensor) -> None:
        self.seen.append((trainer.global_step, float(pl_module.posterior.schedule())))


def test_temperature_falls_with_the_steps(tmp_path: Path) -> None:
    """It starts at the greatest value, and is that of an uninterrupted run after a resume."""
    schedule = partial(Exponential, start=1.0, end=0.5, rate=0.02)
    spy = Temperatures()
    model = tiny(CategoricalVAE, temperature=schedule)
    trainer = quiet_trainer(tmp_path, max_epochs=2, accumulate_grad_batches=2, callbacks=[spy])
    trainer.fit(model, tiny_data())
    first, seen = spy.seen[0], list(spy.seen)
    assert first == (0, 1.0)
    assert all(value == pytest.approx(math.exp(-0.02 * step)) for step, value in seen)
    assert seen[-1][0] > 2
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = tiny(CategoricalVAE, temperature=schedule)
    trainer = quiet_trainer(tmp_path, max_epochs=3, accumulate_grad_batches=2, callbacks=[spy])
    trainer.fit(again, tiny_data(), ckpt_path=tmp_path / "a.ckpt")
    step, value = spy.seen[len(seen)]
    assert step > seen[-1][0] - 1
    assert value == pytest.approx(math.exp(-0.02 * step))


def test_temperature_reaches_the_samples(images: Tensor) -> None:
    sharp = []
    for value in (0.01, 10.0):
        torch.manual_seed(0)
        model = tiny(CategoricalVAE, temperature=partial(Constant, value=value))
        sharp.append(model.encode(images).rsample().amax(-1).mean().item())
    assert sharp[0] > 0.95
    assert sharp[1] < 0.3


@pytest.mark.parametrize("cls", [BetaVAE, ConditionalVAE])
def test_combined(cls: type[VAE], images: Tensor) -> None:
    combined = type("Combined", (cls, CategoricalVAE), {})
    model = build(combined, encoder=small, decoder=small, **({"num_classes": 3} if cls is ConditionalVAE else {}))
    c = torch.arange(len(images)) % 3 if cls is ConditionalVAE else None
    model.losses(images, c)["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert model.sample(4).shape == (4, 1, 8, 8)
    assert model.embed(images, c).shape == (len(images), 4, 10)


def test_latents_that_cannot_be_moved(images: Tensor) -> None:
    model = tiny(CategoricalVAE, likelihood=FixedNormal)
    assert not model.continuous
    assert not tiny(VAE, posterior=Dirichlet, prior=DirichletPrior).continuous
    assert tiny(GammaVAE).continuous
    assert tiny(VAE).continuous
    assert tiny(VAE, posterior=DiagonalNormal).continuous
    with pytest.raises(TypeError, match=r"chains move through intervals .*, and CategoricalVAE has latents on OneHot"):
        ais(model, images)
