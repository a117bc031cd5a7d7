"""Flows: densities, kept densities of draws, means, and a flow in place of the exact posterior."""

from __future__ import annotations

import builtins
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import LinearGaussian, quiet_trainer, same_weights, tiny
from short import few
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo import hub
from vae_zoo.distributions import (
    AutoregressiveFlow,
    ConditionalNormal,
    Family,
    FlowPrior,
    MixtureNormal,
    Prior,
    SplineFlow,
    SplinePrior,
    StandardLaplace,
)
from vae_zoo.models import VAE, FlowVAE

FLOWS = [AutoregressiveFlow, SplineFlow]
FLOW_PRIORS = [FlowPrior, SplinePrior]


def strong(module: nn.Module, size: float = 0.3) -> nn.Module:
    """The same with weights that take it far from the identity."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(size * torch.randn_like(p))
    return module


def posterior(cls: type[Family], shape: tuple[int, ...] = (3,), batch: int = 4) -> Distribution:
    family = strong(cls(shape, num_transforms=2, hidden=[8], context_dim=2).double())
    return family(0.5 * torch.randn(batch, *family.param_shape).double())


@pytest.mark.parametrize("cls", FLOWS)
class TestPosterior:
    def test_kept_density_is_the_computed_one(self, cls: type[Family]) -> None:
        q = posterior(cls)
        z = q.rsample((50,))
        kept, computed = q.log_prob(z), q.log_prob(z.clone())
        assert kept is q.log_prob(z)
        torch.testing.assert_close(kept, computed, rtol=1e-6, atol=1e-6)

    def test_density_by_the_jacobian(self, cls: type[Family]) -> None:
        """log N(u) - log |det dz/du|, the determinant by automatic differentiation."""
        q = posterior(cls, batch=1)
        u = torch.randn(3).double()
        jacobian = torch.autograd.functional.jacobian(lambda u: q._push(u[None])[0][0], u)
        expected = torch.distributions.Normal(0.0, 1.0).log_prob(u).sum() - jacobian.det().abs().log()
        torch.testing.assert_close(q.log_prob(q._push(u[None])[0])[0], expected, rtol=1e-6, atol=1e-6)

    def test_both_densities_have_the_same_gradient(self, cls: type[Family]) -> None:
        family = strong(cls((3,), hidden=[8], context_dim=2).double())
        params, grads = torch.randn(4, *family.param_shape).double().requires_grad_(), []
        for again in (lambda z: z, lambda z: z.view_as(z)):
            torch.manual_seed(1)
            q = family(params)
            loss = q.log_prob(again(q.rsample((5,)))).sum()
            grads.append(torch.autograd.grad(loss, [params, *family.parameters()]))
        torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)

    def test_a_draw_without_gradients_has_a_density_with_them(self, cls: type[Family]) -> None:
        family = cls((3,), hidden=[8], context_dim=2)
        q = family(torch.randn(4, *family.param_shape))
        with torch.no_grad():
            z = q.rsample()
        assert q.log_prob(z).requires_grad
        with torch.no_grad():
            frozen = family(torch.randn(4, *family.param_shape))
        assert not frozen.log_prob(z).requires_grad

    def test_gradient_with_respect_to_the_draw(self, cls: type[Family]) -> None:
        q = posterior(cls)
        z = q.sample().requires_grad_()
        assert torch.autograd.gradcheck(q.log_prob, (z,), atol=1e-4, rtol=1e-3)

    def test_mean_is_the_image_of_the_noises_mean(self, cls: type[Family]) -> None:
        q = posterior(cls, (2, 3))
        assert q.mean.shape == q.stddev.shape == (4, 2, 3)
        assert torch.equal(q.mean, q.mean)
        u, _ = q._pull(q.mean.flatten(-2))
        torch.testing.assert_close(u, torch.zeros_like(u), rtol=0, atol=1e-5)

    def test_in_one_dimension_the_mean_is_the_median(self, cls: type[Family]) -> None:
        q = posterior(cls, (1,))
        torch.testing.assert_close(q.sample((20_000,)).median(0).values, q.mean, rtol=0, atol=0.1)

    def test_draws_agree_with_the_density(self, cls: type[Family]) -> None:
        q = posterior(cls, (1,), 1)
        draws = q.sample((20_000,)).flatten()
        edges = torch.linspace(draws.quantile(0.01), draws.quantile(0.99), 21).double()
        fine = torch.linspace(edges[0], edges[-1], 2001).double()
        density = q.log_prob(fine[:, None, None]).exp().flatten()
        mass = torch.trapezoid(
            torch.cat([density[:-1].view(20, 100), density[100::100][:, None]], 1), dx=fine[1] - fine[0]
        )
        share = torch.histogram(draws, edges).hist / len(draws)
        assert ((share - mass).abs() < 5 * (mass / len(draws)).sqrt()).all()


def test_moments_of_an_affine_flow_are_exact() -> None:
    """With one dimension, or without hidden units that see another, the steps are affine in the noise."""
    q = posterior(AutoregressiveFlow, (1,))
    draws = q.sample((50_000,))
    torch.testing.assert_close(draws.mean(0), q.mean, rtol=0, atol=0.05)
    torch.testing.assert_close(draws.std(0), q.stddev, rtol=0.03, atol=0)


@pytest.mark.parametrize("make", [*FLOW_PRIORS, MixtureNormal, ConditionalNormal, StandardLaplace])
class TestPrior:
    def test_draws_agree_with_the_density(self, make: type[Prior]) -> None:
        p = strong(make((1,)).double(), 0.1)()  # more would make peaks too narrow for a grid
        draws = p.sample((10_000,)).flatten()
        edges = torch.linspace(draws.quantile(0.02), draws.quantile(0.98), 11).double()
        fine = torch.linspace(edges[0], edges[-1], 1001).double()
        with torch.no_grad():
            density = p.log_prob(fine[:, None]).exp()
        steps = torch.cat([density[:-1].view(10, 100), density[100::100][:, None]], 1)
        mass = torch.trapezoid(steps, dx=float(fine[1] - fine[0]))
        share = torch.histogram(draws, edges).hist / len(draws)
        assert ((share - mass).abs() < 5 * (mass / len(draws)).sqrt() + 1e-3).all()

    def test_model_draws_from_it(self, make: type[Prior], monkeypatch: pytest.MonkeyPatch) -> None:
        """log p of the model's own latents is what -log p costs on average: they are draws of p."""
        model, latents = tiny(VAE, prior=make), []
        strong(model.latent_prior)
        decode = model.decode
        monkeypatch.setattr(model, "decode", lambda z, c=None: latents.append(z) or decode(z, c))
        model.sample(2_000)
        p = model.prior()
        with torch.no_grad():
            own, other = p.log_prob(latents[0]), p.log_prob(p.sample((2_000,)))
        error = (own.var() / 2_000 + other.var() / 2_000).sqrt()
        assert latents[0].shape == (2_000, 4)
        assert (own.mean() - other.mean()).abs() < 4 * error


@pytest.mark.parametrize("make", [ConditionalNormal, *FLOW_PRIORS])
class TestCondition:
    def test_labels_and_attributes(self, make: type[Prior]) -> None:
        p = strong(make((3,), num_classes=5, hidden=[8]).double())
        c, z = torch.tensor([0, 4, 4, 2]), torch.randn(4, 3).double()
        given = p(c)
        assert given.batch_shape == (4,)
        assert given.sample().shape == (4, 3)
        torch.testing.assert_close(given.log_prob(z), p(torch.eye(5).double()[c]).log_prob(z))
        assert not torch.allclose(given.log_prob(z), p(torch.tensor([1, 1, 1, 1])).log_prob(z))

    def test_without_a_condition_it_is_the_mean_over_classes(self, make: type[Prior]) -> None:
        p, z = strong(make((3,), num_classes=5, hidden=[8]).double()), torch.randn(7, 3).double()
        each = torch.stack([p(torch.full((7,), n)).log_prob(z) for n in range(5)])
        torch.testing.assert_close(p().log_prob(z), each.exp().mean(0).log())

    def test_refuses_what_is_neither(self, make: type[Prior]) -> None:
        for c in (torch.rand(4), torch.rand(4, 3), torch.zeros(4, 5, 1)):
            with pytest.raises(ValueError, match=r"integer labels \(B,\) or attributes \(B, 5\), got") as error:
                make((3,), num_classes=5)(c)
            assert "\n" not in str(error.value)


def test_mixture_against_an_explicit_sum() -> None:
    p, z = strong(MixtureNormal((3,), num_components=4).double()), torch.randn(6, 3).double()
    each = torch.distributions.Normal(p.loc, p.log_scale.exp()).log_prob(z[:, None]).sum(-1).exp()
    torch.testing.assert_close(p().log_prob(z), (each @ torch.softmax(p.logits, 0)).log())


@pytest.mark.parametrize(
    ("make", "kwargs", "message"),
    [
        *[(f, {"num_transforms": 0}, "num_transforms and context_dim must be at least 1, got 0 and") for f in FLOWS],
        *[(f, {"hidden": [0]}, "hidden must hold widths of at least 1, got [0].") for f in [*FLOWS, *FLOW_PRIORS]],
        *[(f, {"num_bins": 1}, "num_bins must be at least 2, got 1.") for f in (SplineFlow, SplinePrior)],
        *[(f, {"num_classes": -1}, "num_classes must be at least 0, got -1.") for f in FLOW_PRIORS],
        (AutoregressiveFlow, {"context_dim": 0}, "got 2 and 0."),
        (MixtureNormal, {"num_components": 0}, "num_components must be at least 1, got 0."),
        (ConditionalNormal, {"num_classes": 0}, "num_classes and hidden must be at least 1, got 0"),
    ],
)
def test_bad_values(make: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="must") as error:
        make((3,), **kwargs)
    assert message in str(error.value)


def test_without_zuko(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("zuko"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for make in (*FLOWS, *FLOW_PRIORS):
        with pytest.raises(ImportError, match=rf"^{make.__name__} needs zuko: pip install 'vae_zoo\[flows\]'\.$"):
            make((3,))


@pytest.mark.exhaustive
def test_checkpoint_round_trip(tmp_path: Path, images: Tensor) -> None:
    model = tiny(FlowVAE, prior=SplinePrior, posterior=partial(SplineFlow, hidden=[8]))
    trainer = quiet_trainer(tmp_path)
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    again = hub.load(tmp_path / "a.ckpt")
    assert same_weights(again, model)
    assert torch.equal(again.embed(images), model.embed(images))
    q, r = model.encode(images), again.encode(images)
    torch.manual_seed(1)
    z = q.rsample()
    assert torch.equal(r.log_prob(z), q.log_prob(z.clone()))
    assert torch.equal(model.prior().log_prob(z), again.prior().log_prob(z))


class LinearFlow(LinearGaussian):
    """Its posterior is the flow in place of the exact one."""

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return VAE.encode(self, x, c)


@pytest.mark.parametrize("cls", few(FLOWS, 1))
def test_a_trained_flow_in_place_of_the_exact_posterior(cls: type[Family]) -> None:
    """Its bound stays below the exact evidence and comes near; its importance weights give the evidence itself."""
    torch.manual_seed(0)
    model = LinearFlow(shape=(5,), latent_dim=2, posterior=partial(cls, num_transforms=2, hidden=[16], context_dim=4))
    with torch.no_grad():
        x = model.sample(8, mean=False)
    own = [*model.encoder.parameters(), *model.posterior.parameters()]
    optimizer = torch.optim.Adam(own, lr=0.02)
    for step in range(150):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 150)
        terms = model.elbo(x, num_samples=4)
        optimizer.zero_grad()
        (-terms.value.mean()).backward()
        optimizer.step()
    with torch.no_grad():
        terms = model.elbo(x, num_samples=4_000)
        error = terms.log_w.std(0) / 4_000**0.5
        gaps = model.exact_evidence(x) - terms.log_w.mean(0)
        weights = (terms.log_w - model.exact_evidence(x)).exp()
    assert (gaps > -4 * error - 1e-6).all()
    assert gaps.mean() < 0.5, gaps
    assert ((weights.mean(0) - 1).abs() < 4 * weights.std(0) / 4_000**0.5 + 1e-6).all()
