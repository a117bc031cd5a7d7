"""Every posterior with every prior: which can be combined, and their divergence."""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch
from helpers import FAMILIES, PRIORS, REAL_PRIORS, SHAPE, small
from short import few
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal, constraints, kl_divergence

from vae_zoo.distributions import (
    AutoregressiveFlow,
    Bernoulli,
    Beta,
    BetaPrior,
    ConditionalNormal,
    DiagonalLaplace,
    DiagonalNormal,
    Dirichlet,
    DirichletPrior,
    Family,
    FlowPrior,
    FullNormal,
    Gamma,
    GammaPrior,
    Mixture,
    MixtureNormal,
    PlanarFlow,
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
from vae_zoo.distributions.supports import Ball, Product, Sphere, contains, same
from vae_zoo.models import IWAE, VAE, VampVAE
from vae_zoo.testing.losses import ONE_GRAPH

REAL = [DiagonalNormal, FullNormal, DiagonalLaplace, AutoregressiveFlow, SplineFlow, PlanarFlow]
OTHERS = [(Gamma, GammaPrior), (Beta, BetaPrior), (Dirichlet, DirichletPrior)]
CLOSED = {(q, p) for q in REAL[:3] for p in (StandardNormal, StandardLaplace)} | set(OTHERS)
PAIRS = [(q, p) for q in REAL for p in REAL_PRIORS] + [*OTHERS, (Gamma, StandardNormal), (Beta, GammaPrior)]
every_pair = pytest.mark.parametrize(("q", "p"), PAIRS)


def smallest(cls: type) -> Any:
    """The class with networks as small as can be."""
    return (
        partial(cls, num_transforms=1, **({} if cls is PlanarFlow else {"hidden": [8]}))
        if cls.__name__.endswith(("Flow", "FlowPrior", "SplinePrior"))
        else cls
    )


def pair(q: type[Family], p: type[Prior], dtype: torch.dtype = torch.float64) -> tuple[Distribution, Distribution]:
    family, prior = smallest(q)((3,)).to(dtype), smallest(p)((3,)).to(dtype)
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
        kwargs = {"encoder": small, "decoder": small, "posterior": smallest(q), "prior": smallest(p)}
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
        family, prior = smallest(q)((3,)), smallest(p)((3,))
        params = (0.5 * torch.randn(8, *family.param_shape)).bfloat16()
        with torch.autocast("cpu", torch.bfloat16):
            a, b = family(params), prior()
            z = a.rsample((5,))
            low = kl(a, b, z)
        assert z.dtype == low.dtype == torch.float32
        if getattr(b, "is_bound", False):
            return  # the density is a draw, which differs between precisions
        a, b = family.double()(params.double()), prior.double()()
        torch.testing.assert_close(low.double(), kl(a, b, z.double()), rtol=1e-4, atol=1e-4)

    def test_gradient_in_float32(self, q: type[Family], p: type[Prior]) -> None:
        family, prior = smallest(q)((3,)), smallest(p)((3,))
        params, grads = 0.5 * torch.randn(8, *family.param_shape), []
        z = family(params).sample((4,))
        for dtype in (torch.float32, torch.float64):
            leaf = params.detach().clone().to(dtype).requires_grad_()
            kl(family.to(dtype)(leaf), prior.to(dtype)(), z.to(dtype)).sum().backward()
            grads.append(leaf.grad.double())
        torch.testing.assert_close(*grads, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("cls", "q", "p"),
    few(
        [
            (VAE, FullNormal, StandardNormal),
            pytest.param(VAE, DiagonalLaplace, MixtureNormal, marks=pytest.mark.exhaustive),
            pytest.param(IWAE, AutoregressiveFlow, ConditionalNormal, marks=pytest.mark.exhaustive),
            pytest.param(VAE, SplineFlow, StandardLaplace, marks=pytest.mark.exhaustive),
            (VAE, DiagonalNormal, SplinePrior),
            pytest.param(VAE, DiagonalNormal, FlowPrior, marks=pytest.mark.exhaustive),
            (IWAE, Gamma, GammaPrior),
            pytest.param(VAE, Beta, BetaPrior, marks=pytest.mark.exhaustive),
            (VAE, Dirichlet, DirichletPrior),
        ],
        1,
    ),
)
def test_compiles_into_one_graph(cls: type[VAE], q: type[Family], p: type[Prior], images: Tensor) -> None:
    kwargs = {"encoder": small, "decoder": small, "posterior": smallest(q), "prior": smallest(p)}
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


class Somewhere(torch.distributions.Independent):
    """Normal values that claim to lie in a given support."""

    def __init__(self, loc: Tensor, support: constraints.Constraint) -> None:
        self.claimed = support
        super().__init__(torch.distributions.Normal(loc, 1.0, validate_args=False), 1, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return self.claimed

    def expand(self, batch_shape: Any, _instance: Any = None) -> Somewhere:
        return Somewhere(self.base_dist.loc.expand(*batch_shape, -1), self.claimed)


def on(support: constraints.Constraint) -> tuple[type[Family], type[Prior]]:
    """A family and a prior on a support."""

    class Posterior(Family):
        def distribution(self, params: Tensor) -> Distribution:
            return Somewhere(params, support)

    class OnSupport(Prior):
        def forward(self, c: Tensor | None = None) -> Distribution:
            return Somewhere(torch.zeros(self.shape), support)

    return Posterior, OnSupport


class OnSphere(Family):
    def distribution(self, params: Tensor) -> Distribution:
        return Somewhere(params, Sphere(params.shape[-1]))


class TestSupports:
    def test_compare_by_value(self) -> None:
        assert Sphere(3) == Sphere(3) != Sphere(4)
        assert Ball(3, 2.0) == Ball(3, 2) != Ball(3, 1)
        parts = [Sphere(2), constraints.positive], [(2,), (3,)]
        assert Product(*parts) == Product(*parts) != Product(*(part[::-1] for part in parts))
        distinct = {Sphere(3), Sphere(3), Ball(3), Ball(3, 1), Product(*parts), Product(*parts)}
        assert len(distinct) == 3
        assert same(copy.deepcopy(constraints.simplex), constraints.simplex)
        halves = (constraints.multinomial(2), constraints.multinomial(2), constraints.multinomial(3))
        assert same(halves[0], halves[1])
        assert not same(halves[0], halves[2])

    @pytest.mark.parametrize(
        ("support", "value", "inside"),
        [
            (Sphere(3), [0.6, 0.0, 0.8], True),
            (Sphere(3), [0.6, 0.1, 0.8], False),
            (Sphere(2), [0.6, 0.0, 0.8], False),
            (Ball(2), [0.6, 0.79], True),
            (Ball(2), [0.6, 0.8], False),
            (Ball(2, 0.25), [1.2, 1.5], True),
            (Product([constraints.positive, constraints.one_hot], [(1,), (1, 2)]), [3.0, 0.0, 1.0], True),
            (Product([constraints.positive, constraints.one_hot], [(1,), (1, 2)]), [-3.0, 0.0, 1.0], False),
            (Product([constraints.positive, constraints.one_hot], [(1,), (1, 2)]), [3.0, 0.5, 0.5], False),
        ],
    )
    def test_what_is_inside(self, support: constraints.Constraint, value: list[float], inside: bool) -> None:
        assert support.check(torch.tensor([value])).tolist() == [inside]

    def test_samples_of_a_high_dimension_are_on_the_sphere(self) -> None:
        z = torch.nn.functional.normalize(torch.randn(1000, 512), dim=-1)
        assert Sphere(512).check(z).all()


class TestCheck:
    @pytest.mark.parametrize("prior", PRIORS)
    @pytest.mark.parametrize("family", [f for f in FAMILIES if f.is_density or f is Point])  # energies are of images
    def test_every_family_with_every_prior(self, family: type[Family], prior: type[Prior]) -> None:
        q, p = family((4,)), prior((4,))
        reparameterised = q.is_density and q.is_for_latents and q(torch.zeros(1, *q.param_shape)).has_rsample
        if reparameterised and contains(p().support, q.at_zeros().support):
            check_pair(q, p)
        elif reparameterised:
            with pytest.raises(ValueError, match="do not go together: the prior lies on"):
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

    @pytest.mark.parametrize(
        ("inner", "outer", "message"),
        [
            (Sphere(4), Sphere(4), ""),
            (Ball(4, 0.5), Ball(4, 0.5), ""),
            (constraints.simplex, constraints.simplex, ""),
            (constraints.positive, constraints.nonnegative, ""),
            (
                Product([Sphere(2), constraints.real], [(2,), (2,)]),
                Product([Sphere(2), constraints.real], [(2,), (2,)]),
                "",
            ),
            (Sphere(4), constraints.real, "lies on Real(), the posterior draws from Sphere(dim=4)"),
            (constraints.real, Sphere(4), "lies on Sphere(dim=4), the posterior draws from Real()"),
            (
                Ball(4, 1.0),
                Ball(4, 0.5),
                "lies on Ball(dim=4, curvature=0.5), the posterior draws from Ball(dim=4, curvature=1)",
            ),
            (constraints.simplex, constraints.one_hot, "lies on OneHot(), the posterior draws from Simplex()"),
            (constraints.one_hot, constraints.real, "lies on Real(), the posterior draws from OneHot()"),
            (
                Product([constraints.real, constraints.one_hot], [(1,), (3,)]),
                Product([constraints.real, constraints.one_hot], [(2,), (2,)]),
                "lies on Product(Real() of shape (2,), OneHot() of shape (2,)), the posterior draws from Product(",
            ),
        ],
    )
    def test_supports_that_are_no_intervals(
        self, inner: constraints.Constraint, outer: constraints.Constraint, message: str
    ) -> None:
        posterior, prior = on(inner)
        prior = on(outer)[1]
        if not message:
            check_pair(posterior((4,)), prior((4,)))
            return
        with pytest.raises(ValueError, match="do not go together") as error:
            check_pair(posterior((4,)), prior((4,)))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize("support", [constraints.real, Sphere(4), Ball(4), constraints.simplex])
    def test_a_mixture_lies_where_its_components_do(self, support: constraints.Constraint) -> None:
        assert same(Mixture(on(support)[1]((4,))().expand((3,))).support, support)

    def test_the_prior_of_a_vampvae_is_judged_by_its_posteriors(self) -> None:
        """The standard normal distribution, from which it does not draw, would be refused for a sphere."""
        with pytest.raises(ValueError, match="OnSphere and StandardNormal do not go together"):
            VAE(shape=SHAPE, posterior=OnSphere)
        model = VampVAE(shape=SHAPE, latent_dim=4, posterior=OnSphere, num_pseudo=3, encoder=small, decoder=small)
        assert model.prior().support == Sphere(4)
        for wrong in (Bernoulli, Point):
            with pytest.raises(ValueError, match=f"{wrong.__name__} cannot be the posterior"):
                VampVAE(shape=SHAPE, posterior=wrong)

    def test_a_smaller_support_is_fine(self) -> None:
        check_pair(Unit((4,)), StandardNormal((4,)))
        check_pair(Unit((4,)), Half((4,)))


def test_entropy_of_the_gap_between_normal_and_laplace() -> None:
    """The least divergence of a Laplace from a normal distribution is (log π - 1) / 2, at b = σ / √2."""
    params = torch.tensor([[[0.0], [-0.5 * math.log(2)]]]).double()
    divergence = kl(DiagonalLaplace((1,))(params), StandardNormal((1,)).double()(), torch.zeros(1, 1, 1))
    assert divergence.item() == pytest.approx((math.log(math.pi) - 1) / 2)
