"""Every posterior with every prior: what goes together, and what the divergence of the two is."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from helpers import FAMILIES, PRIORS, SHAPE, small
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, constraints, kl_divergence

from vae_zoo.distributions import (
    AutoregressiveFlow,
    Bernoulli,
    ConditionalNormal,
    DiagonalLaplace,
    DiagonalNormal,
    Family,
    FlowPrior,
    FullNormal,
    MixtureNormal,
    Point,
    Prior,
    SplineFlow,
    SplinePrior,
    StandardLaplace,
    StandardNormal,
    check_pair,
    has_closed_form,
    kl,
)
from vae_zoo.models import IWAE, VAE
from vae_zoo.testing.losses import ONE_GRAPH

POSTERIORS = [DiagonalNormal, FullNormal, DiagonalLaplace, AutoregressiveFlow, SplineFlow]
CLOSED = {(q, p) for q in POSTERIORS[:3] for p in (StandardNormal, StandardLaplace)}
every_pair = pytest.mark.parametrize(("q", "p"), [(q, p) for q in POSTERIORS for p in PRIORS])


def few(cls: type) -> Any:
    """The class with networks as small as can be."""
    return (
        partial(cls, hidden=[8], num_transforms=1)
        if cls.__name__.endswith(("Flow", "FlowPrior", "SplinePrior"))
        else cls
    )


def pair(q: type[Family], p: type[Prior], dtype: torch.dtype = torch.float64) -> tuple[Distribution, Distribution]:
    family, prior = few(q)((3,)).to(dtype), few(p)((3,)).to(dtype)
    return family(0.5 * torch.randn(4, *family.param_shape).to(dtype)), prior()


@every_pair
class TestEveryPair:
    def test_divergence_agrees_with_monte_carlo(self, q: type[Family], p: type[Prior]) -> None:
        a, b = pair(q, p)
        assert has_closed_form(a, b) == ((q, p) in CLOSED)
        with torch.no_grad():
            z = a.rsample((4_000,))
            log_ratio = a.log_prob(z) - b.log_prob(z)
            divergence = kl(a, b, z[:2_000])
        error = log_ratio.std(0) / 2_000**0.5
        assert divergence.shape == (4,)
        assert ((divergence - log_ratio.mean(0)).abs() < 5 * error + 1e-9).all()
        assert (divergence > -5 * error).all()

    @pytest.mark.parametrize("cls", [VAE, IWAE])
    def test_has_a_gradient_for_every_parameter(
        self, cls: type[VAE], q: type[Family], p: type[Prior], images: Tensor
    ) -> None:
        kwargs = {"encoder": small, "decoder": small, "posterior": few(q), "prior": few(p)}
        model = cls(shape=SHAPE, latent_dim=3, num_samples=2, **kwargs)
        values = model.losses(images[:4], torch.arange(4))
        values["loss"].backward()
        assert all(v.isfinite() for v in values.values()), values
        without = [n for n, w in model.named_parameters() if w.grad is None or not w.grad.isfinite().all()]
        without += [n for n, w in model.named_parameters() if w.grad is not None and not (w.grad != 0).any()]
        assert not without, f"no gradient for {without}"
        assert model.sample(5).shape == (5, *SHAPE)
        assert model.log_evidence(images[:2], num_samples=3).isfinite().all()
        assert torch.equal(model.embed(images[:2]), model.embed(images[:2]))

    def test_float32_under_autocast_agrees_with_float64(self, q: type[Family], p: type[Prior]) -> None:
        family, prior = few(q)((3,)), few(p)((3,))
        params = (0.5 * torch.randn(8, *family.param_shape)).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            a, b = family(params), prior()
            z = a.rsample((5,))
            low = kl(a, b, z)
        assert z.dtype == low.dtype == torch.float32
        a, b = family.double()(params.double()), prior.double()()
        torch.testing.assert_close(low.double(), kl(a, b, z.double()), rtol=1e-4, atol=1e-4)

    def test_gradient_in_float32(self, q: type[Family], p: type[Prior]) -> None:
        family, prior = few(q)((3,)), few(p)((3,))
        params, grads = 0.5 * torch.randn(8, *family.param_shape), []
        z = family(params).sample((4,))
        for dtype in (torch.float32, torch.float64):
            leaf = params.detach().clone().to(dtype).requires_grad_()
            kl(family.to(dtype)(leaf), prior.to(dtype)(), z.to(dtype)).sum().backward()
            grads.append(leaf.grad.double())
        torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("cls", "q", "p"),
    [
        (VAE, FullNormal, StandardNormal),
        (VAE, DiagonalLaplace, MixtureNormal),
        (IWAE, AutoregressiveFlow, ConditionalNormal),
        (VAE, SplineFlow, StandardLaplace),
        (VAE, DiagonalNormal, SplinePrior),
        (VAE, DiagonalNormal, FlowPrior),
    ],
)
def test_compiles_into_one_graph(cls: type[VAE], q: type[Family], p: type[Prior], images: Tensor) -> None:
    kwargs = {"encoder": small, "decoder": small, "posterior": few(q), "prior": few(p)}
    model, c = cls(shape=SHAPE, latent_dim=2, **kwargs), torch.arange(4)
    torch.manual_seed(1)
    expected = model.losses(images[:4], c)
    torch.manual_seed(1)
    values = torch.compile(cls.losses, fullgraph=ONE_GRAPH, backend="eager")(model, images[:4], c)
    torch.testing.assert_close(values, expected)


def full(mean: Tensor, tril: Tensor) -> Distribution:
    """The normal distribution of the package by a Cholesky factor."""
    num = len(mean)
    below = tril[tuple(torch.tril_indices(num, num, -1))]
    return FullNormal((num,))(torch.cat([mean, tril.diagonal().log(), below])[None].double())


def test_full_normal_against_torch() -> None:
    mean, tril = torch.randn(3).double(), torch.randn(3, 3).double().tril(-1) + torch.diag(torch.rand(3).double() + 0.2)
    q, exact = full(mean, tril), MultivariateNormal(mean, scale_tril=tril)
    z = torch.randn(7, 1, 3).double()
    torch.testing.assert_close(q.log_prob(z)[:, 0], exact.log_prob(z[:, 0]))
    torch.testing.assert_close(q.mean[0], exact.mean)
    torch.testing.assert_close(q.stddev[0], exact.stddev)
    standard = MultivariateNormal(torch.zeros(3).double(), torch.eye(3).double())
    torch.testing.assert_close(kl(q, StandardNormal((3,)).double()(), z)[0], kl_divergence(exact, standard))
    torch.manual_seed(2)
    draws = q.rsample((50_000,))[:, 0]
    torch.testing.assert_close(torch.cov(draws.T), tril @ tril.T, rtol=0, atol=0.05)


def test_laplace_against_torch() -> None:
    params = torch.randn(5, 2, 3).double()
    q, z = DiagonalLaplace((3,))(params), torch.randn(7, 5, 3).double()
    exact = torch.distributions.Laplace(params[:, 0], params[:, 1].exp())
    torch.testing.assert_close(q.log_prob(z), exact.log_prob(z).sum(-1))
    for prior in (torch.distributions.Laplace(0.0, 1.0), torch.distributions.Normal(0.0, 1.0)):
        p = {"Laplace": StandardLaplace, "Normal": StandardNormal}[type(prior).__name__]((3,)).double()()
        torch.testing.assert_close(kl(q, p, z), kl_divergence(exact, prior).sum(-1))
    torch.testing.assert_close(q.rsample((40_000,)).std(0), q.stddev, rtol=0.05, atol=0)


def test_normal_from_laplace_by_quadrature() -> None:
    params = torch.randn(5, 2, 1).double()
    q, p = DiagonalNormal((1,))(params), StandardLaplace((1,)).double()()
    grid = torch.linspace(-60, 60, 200_001).double()[:, None, None].expand(-1, 5, 1)
    density = q.log_prob(grid)
    exact = torch.trapezoid(density.exp() * (density - p.log_prob(grid)), grid[:, 0, 0], dim=0)
    torch.testing.assert_close(kl(q, p, q.rsample((1,))), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("q", "p"), [(DiagonalNormal, StandardNormal), (FullNormal, StandardNormal), (DiagonalLaplace, StandardLaplace)]
)
def test_never_negative_where_q_is_p(q: type[Family], p: type[Prior], dtype: torch.dtype) -> None:
    family = q((8,))
    for size in (0.0, 1e-4, 1e-3):
        params = (size * torch.randn(64, *family.param_shape)).to(dtype)
        divergence = kl(family(params), p((8,))(), torch.zeros(1, 64, 8))
        assert (divergence >= 0).all()
        exact = kl(family(params.double()), p((8,)).double()(), torch.zeros(1, 64, 8).double())
        torch.testing.assert_close(divergence.double(), exact, rtol=1e-4, atol=0)


class Half(Prior):
    """A prior on the positive numbers."""

    def forward(self, c: Tensor | None = None) -> Distribution:
        base = torch.distributions.HalfNormal(torch.ones(self.shape), validate_args=False)
        return torch.distributions.Independent(base, 1, validate_args=False)


class Unit(Family):
    """A family on [0, 1], reparameterised."""

    support = constraints.unit_interval

    def distribution(self, params: Tensor) -> Distribution:
        base = torch.distributions.Uniform(0 * params, 0 * params + 1, validate_args=False)
        return torch.distributions.Independent(base, 1, validate_args=False)


class TestCheck:
    @pytest.mark.parametrize("prior", PRIORS)
    @pytest.mark.parametrize("family", [f for f in FAMILIES if f.is_density or f is Point])  # energies are of images
    def test_every_family_with_every_prior(self, family: type[Family], prior: type[Prior]) -> None:
        q, p = family((4,)), prior((4,))
        reparameterised = q.is_density and q.is_for_latents and q(torch.zeros(1, *q.param_shape)).has_rsample
        if reparameterised:
            check_pair(q, p)
        else:
            with pytest.raises(ValueError, match=f"^{family.__name__} cannot be the posterior") as error:
                check_pair(q, p)
            assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("posterior", "prior", "message"),
        [
            (Point, StandardNormal, "Point cannot be the posterior of a model with a bound: it has no density"),
            (Bernoulli, StandardNormal, "Bernoulli cannot be the posterior: its samples are not reparameterised"),
            (
                DiagonalNormal,
                lambda shape: StandardNormal((7,)),
                r"do not go together: latents are of shape \(4,\) and",
            ),
            (DiagonalNormal, Half, "DiagonalNormal and Half do not go together: the prior lies on .*draws from Real"),
        ],
    )
    def test_refused(self, posterior: type[Family], prior: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message) as error:
            check_pair(posterior((4,)), prior((4,)))
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("cls", [VAE, IWAE])
    def test_at_construction(self, cls: type[VAE]) -> None:
        for kwargs in ({"posterior": Point}, {"posterior": Bernoulli}, {"prior": Half}):
            with pytest.raises(ValueError, match="posterior"):
                cls(shape=SHAPE, **kwargs)

    def test_a_smaller_support_is_fine(self) -> None:
        check_pair(Unit((4,)), StandardNormal((4,)))
        check_pair(Unit((4,)), Half((4,)))


def test_entropy_of_the_gap_between_normal_and_laplace() -> None:
    """The least divergence of a Laplace from a normal distribution is (log π - 1) / 2, at b = σ / √2."""
    params = torch.tensor([[[0.0], [-0.5 * math.log(2)]]]).double()
    divergence = kl(DiagonalLaplace((1,))(params), StandardNormal((1,)).double()(), torch.zeros(1, 1, 1))
    assert divergence.item() == pytest.approx((math.log(math.pi) - 1) / 2)
