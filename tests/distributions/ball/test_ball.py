"""Distributions on the Poincaré ball against quadrature, closed forms, isometries and the Euclidean limit."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from vae_zoo.distributions import (
    Mixture,
    RiemannianNormal,
    RiemannianNormalPrior,
    StandardNormal,
    WrappedNormal,
    WrappedNormalPrior,
    check_pair,
    tempered,
)
from vae_zoo.distributions.ball.points import REACH, OnBall
from vae_zoo.distributions.ball.riemannian_normal import Riemannian, radii
from vae_zoo.distributions.ball.wrapped_normal import Wrapped
from vae_zoo.distributions.supports import Ball
from vae_zoo.functional import ball_distance, ball_exp, ball_log, mobius_add

LEVEL = 1e-4
FAMILIES = [WrappedNormal, RiemannianNormal]
PRIORS = [WrappedNormalPrior, RiemannianNormalPrior]
MEAN = [0.3, 0.2]


def double(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def made(cls: type[OnBall], loc: Tensor, scale: float, curvature: float = 1.0) -> OnBall:
    log_scale = torch.full((loc.shape[-1],) if cls is Wrapped else (), math.log(scale), dtype=torch.float64)
    return cls(loc, log_scale, curvature)


def mass(q: OnBall, curvature: float = 1.0, side: int = 601) -> float:
    """Integral over the disc of the density, times the volume of its metric."""
    edge = torch.linspace(-1, 1, side, dtype=torch.float64) / math.sqrt(curvature)
    z = torch.cartesian_prod(edge, edge)
    z = z[curvature * z.square().sum(-1) < 1 - 1e-9]
    volume = (2 / (1 - curvature * z.square().sum(-1))).square()
    return ((q.log_prob(z).exp() * volume).sum() * (edge[1] - edge[0]).square()).item()


@pytest.mark.parametrize("cls", [Wrapped, Riemannian])
@pytest.mark.parametrize("curvature", [0.4, 1.0])
def test_density_integrates_to_one(cls: type[OnBall], curvature: float) -> None:
    """With respect to the volume λ² dz; a density that lacks a factor of the metric does not."""
    assert mass(made(cls, double(*MEAN), 0.6, curvature), curvature) == pytest.approx(1, abs=1e-6)


def test_density_of_unequal_scales_integrates_to_one() -> None:
    assert mass(Wrapped(double(*MEAN), double(0.3, 0.7).log(), 1.0)) == pytest.approx(1, abs=1e-6)


def test_normaliser_on_the_disc() -> None:
    for scale in (0.05, 0.6, 2.0):
        closed = math.log(2 * math.pi * scale * math.sqrt(math.pi / 2) * math.erf(scale / math.sqrt(2))) + scale**2 / 2
        assert made(Riemannian, double(*MEAN), scale).log_norm.item() == pytest.approx(closed, abs=1e-10)  # type: ignore[attr-defined]
    assert made(Riemannian, double(*MEAN), 0.6).log_norm.item() == pytest.approx(0.937649, abs=1e-6)  # type: ignore[attr-defined]


@pytest.mark.parametrize("cls", [Wrapped, Riemannian])
def test_isometries_change_no_density(cls: type[OnBall]) -> None:
    """Moving the mean and the point by one translation: every λ that is missing shows here."""
    move, z = double(0.5, -0.3), torch.tensor([[0.1, 0.2], [-0.5, 0.6], [0.0, -0.9]], dtype=torch.float64)
    here, there = made(cls, double(*MEAN), 0.6), made(cls, mobius_add(move, double(*MEAN), 1.0), 0.6)
    torch.testing.assert_close(there.log_prob(mobius_add(move, z, 1.0)), here.log_prob(z), rtol=0, atol=1e-9)


@pytest.mark.parametrize("dims", [1, 3])
def test_volume_of_the_exponential_map(dims: int) -> None:
    """The change of density by the map from tangent vectors, against the determinant by autograd."""
    torch.manual_seed(0)
    loc, v, curvature = 0.3 * torch.rand(dims).double(), torch.randn(dims).double(), 0.7
    z = ball_exp(loc, v, curvature)
    jacobian = torch.autograd.functional.jacobian(lambda t: ball_exp(loc, t, curvature), v)
    volume = dims * math.log(2 / (1 - curvature * z.square().sum()))
    q = made(Wrapped, loc, 1.0, curvature)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(v).sum()
    expected = normal - torch.linalg.slogdet(jacobian).logabsdet - volume
    assert q.log_prob(z).item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("cls", [Wrapped, Riemannian])
def test_without_curvature_it_is_the_normal_distribution(cls: type[OnBall]) -> None:
    """Of 2 z, since λ is 2 at the origin: densities with respect to the volume, (2 dz)^d."""
    loc, z = double(0.5, -1.0, 0.2), double(0.1, 0.4, 0.3)
    q = made(cls, loc, 0.8, 1e-9)
    euclidean = torch.distributions.Normal(2 * loc, 0.8).log_prob(2 * z).sum()
    assert q.log_prob(z).item() == pytest.approx(euclidean.item(), abs=1e-6)
    torch.manual_seed(0)
    x = q.sample((4000,))
    torch.testing.assert_close(x.mean(0), loc, rtol=0, atol=0.03)
    torch.testing.assert_close(x.std(0), torch.full_like(loc, 0.4), rtol=0.06, atol=0)


def radial(cls: type[OnBall], dims: int, scale: float) -> Any:
    """Distribution function of the distance from the mean, by scipy."""
    if cls is Wrapped:
        return stats.chi(dims, scale=scale).cdf

    def density(r: float) -> float:
        return math.exp(-0.5 * (r / scale) ** 2) * math.sinh(r) ** (dims - 1)

    grid = np.linspace(0, 12, 600)
    parts = [integrate.quad(density, a, b)[0] for a, b in itertools.pairwise(grid)]
    known = np.concatenate([[0], np.cumsum(parts)]) / sum(parts)
    return lambda r: np.interp(r, grid, known)


@pytest.mark.parametrize("cls", [Wrapped, Riemannian])
@pytest.mark.parametrize("dims", [1, 2, 4])
def test_samples_follow_the_density(cls: type[OnBall], dims: int) -> None:
    loc = torch.full((dims,), 0.3, dtype=torch.float64)
    q = made(cls, loc, 0.6)
    torch.manual_seed(1)
    z = q.sample((4000,))
    assert Ball(dims).check(z).all()
    assert stats.kstest(ball_distance(loc, z, 1.0).numpy(), radial(cls, dims, 0.6)).pvalue > LEVEL
    v = ball_log(loc, z, 1.0)
    torch.testing.assert_close(v.mean(0), torch.zeros_like(loc), rtol=0, atol=0.05)
    torch.testing.assert_close(v.square().mean(0).sqrt(), q.stddev, rtol=0.06, atol=0)


def test_derivative_of_the_distance() -> None:
    """d E[r²] / d log σ of samples, against that of the expectation by quadrature."""
    log_scale = torch.full((4000,), math.log(0.7), dtype=torch.float64, requires_grad=True)
    q = Riemannian(torch.zeros(4000, 3, dtype=torch.float64), log_scale, 1.0)
    torch.manual_seed(0)
    (grad,) = torch.autograd.grad(q.distance(q.rsample()).square().sum(), log_scale)

    def expectation(step: float) -> Tensor:
        at = torch.tensor([math.log(0.7) + step], dtype=torch.float64)
        return radii(at, 3, 1.0).mean_score * torch.exp(2 * at)

    exact = (expectation(1e-5) - expectation(-1e-5)) / 2e-5
    assert abs(grad.mean() - exact) < 4 * grad.std() / len(grad) ** 0.5
    (slope,) = torch.autograd.grad(q.log_norm.sum(), log_scale)
    torch.testing.assert_close(slope[0], radii(log_scale[:1].detach(), 3, 1.0).mean_score[0])


def test_maps_are_inverse_and_distances_equal() -> None:
    torch.manual_seed(0)
    x, y = 0.5 * torch.rand(2, 50, 3, dtype=torch.float64) - 0.25
    for curvature in (0.3, 1.0, 4.0):
        v = ball_log(x, y, curvature)
        torch.testing.assert_close(ball_exp(x, v, curvature), y)
        torch.testing.assert_close(v.norm(dim=-1), ball_distance(x, y, curvature))
        assert (ball_log(x, x, curvature).abs() < 1e-9).all()
    # The textbook formula by arcosh.
    gaps = (1 - x.square().sum(-1)) * (1 - y.square().sum(-1))
    known = torch.acosh(1 + 2 * (x - y).square().sum(-1) / gaps)
    torch.testing.assert_close(ball_distance(x, y, 1.0), known)


def scales_of(params: Tensor) -> Tensor:
    """The network's log σ, (B, d) or (B, 1), in parameters of either family."""
    return params[:, 1] if params.ndim == 3 else params[:, -1:]


class TestFamilies:
    @pytest.mark.parametrize("cls", FAMILIES)
    @pytest.mark.parametrize("value", [0.0, 1.0, -3.0, 1000.0])
    def test_samples_lie_inside_and_everything_is_finite(self, cls: Any, value: float) -> None:
        family = cls((4,))
        params = torch.full((3, *family.param_shape), value, requires_grad=True)
        q = family(params)
        torch.manual_seed(0)
        z = q.rsample((50,))
        assert z.dtype == q.log_prob(z).dtype == q.mean.dtype == q.stddev.dtype == torch.float32
        assert q.support == Ball(4, 1.0)
        assert q.support.check(z).all()
        assert (ball_distance(torch.zeros(4), z.double(), 1.0) < REACH + 0.02).all()
        (grad,) = torch.autograd.grad(q.log_prob(z).sum() + z.sum(), params)
        assert q.log_prob(z).isfinite().all()
        assert grad.isfinite().all()

    @pytest.mark.parametrize("cls", FAMILIES)
    def test_float32_agrees_with_float64(self, cls: Any) -> None:
        torch.manual_seed(0)
        family = cls((4,))
        params = 2 * torch.randn(20, *family.param_shape)
        q = family(params)
        z = q.sample((10,))
        exact = family(params.double())
        exact.loc = q.loc  # the point as float32 holds it
        torch.testing.assert_close(q.log_prob(z).double(), exact.log_prob(z.double()), rtol=1e-5, atol=1e-4)

    def test_pairs(self) -> None:
        check_pair(WrappedNormal((2,)), RiemannianNormalPrior((2,)))
        with pytest.raises(ValueError, match=r"Ball\(dim=2, curvature=0.5\).*Ball\(dim=2, curvature=1\)"):
            check_pair(WrappedNormal((2,)), WrappedNormalPrior((2,), curvature=0.5))
        with pytest.raises(ValueError, match="do not go together: the prior lies on"):
            check_pair(WrappedNormal((2,)), StandardNormal((2,)))

    @pytest.mark.parametrize("cls", [*FAMILIES, *PRIORS])
    def test_arguments(self, cls: Any) -> None:
        with pytest.raises(ValueError, match=f"{cls.__name__} needs latents that are vectors"):
            cls((1, 4, 4))
        for curvature in (0, -1, math.inf):
            with pytest.raises(ValueError, match="curvature must be positive and finite, got"):
                cls((2,), curvature=curvature)

    def test_priors_beyond_float32(self) -> None:
        with pytest.raises(ValueError, match="RiemannianNormalPrior of 16 dimensions with scale 1 and curvature 1"):
            RiemannianNormalPrior((16,))
        RiemannianNormalPrior((16,), scale=0.5)
        with pytest.raises(ValueError, match=r"WrappedNormalPrior of 200 dimensions .*lower the scale"):
            WrappedNormalPrior((200,))
        WrappedNormalPrior((200,), curvature=0.1)

    @pytest.mark.parametrize("distance", [0.0, 2.0, 100.0])
    @pytest.mark.parametrize(("dims", "scale"), [(1, 1.0), (6, 1.0), (10, 1.0), (32, 0.5), (50, 0.4)])
    @pytest.mark.parametrize("cls", FAMILIES)
    def test_divergence_from_a_prior_is_not_negative(self, cls: Any, dims: int, scale: float, distance: float) -> None:
        """Not even of the widest distributions: samples that the limit moved would not have their stated density."""
        family = cls((dims,))
        params = torch.zeros(4, *family.param_shape)
        params.view(4, -1)[:, 0] = distance
        scales_of(params)[:] = torch.tensor([-0.5, 0, 0.5, 1])[:, None]
        q = family(params)
        torch.manual_seed(0)
        z = q.sample((1000,))
        assert (ball_distance(torch.zeros(dims), z.double(), 1.0) > REACH - 0.02).double().mean() < 0.05
        for prior in PRIORS:
            assert ((q.log_prob(z) - prior((dims,), scale=scale)().log_prob(z)).mean(0) > -0.02).all()

    @pytest.mark.parametrize(("cls", "prior"), list(zip(FAMILIES, PRIORS, strict=True)))
    def test_only_too_wide_distributions_are_narrowed_and_not_stuck_there(self, cls: Any, prior: Any) -> None:
        family = cls((10,))
        params = torch.zeros(3, *family.param_shape, dtype=torch.float64)
        given = scales_of(params)
        given[:] = double(-1.0, 0.0, 0.9)[:, None]
        params.requires_grad_()
        found = family(params).log_scale
        assert torch.equal(found.reshape(3, -1)[:2], given[:2])
        torch.testing.assert_close(found[1], prior((10,)).double()().log_scale)
        assert (found[2] < 0.87).all()
        for sign, expected in ((1, double(1, 1, 1)), (-1, double(-1, -1, 0))):  # to narrower and to wider ones
            (grad,) = torch.autograd.grad(sign * found.sum(), params, retain_graph=True)
            torch.testing.assert_close(scales_of(grad).mean(1), expected)

    @pytest.mark.parametrize("cls", FAMILIES)
    def test_limit_of_the_scale_has_the_exact_derivative_by_the_mean(self, cls: Any) -> None:
        family = cls((3,))

        def scale(h: Tensor) -> Tensor:
            wide = torch.full_like(h, 0.99)
            params = torch.stack([h, wide]) if cls is WrappedNormal else torch.cat([h, wide[:1]])
            return family(params).log_scale

        h = double(3.0, -2.0, 4.0).requires_grad_()
        assert (scale(h) < 0.9).all()
        assert torch.autograd.gradcheck(scale, h)

    @pytest.mark.parametrize(("family", "prior"), list(zip(FAMILIES, PRIORS, strict=True)))
    def test_mixture_and_temperature(self, family: Any, prior: Any) -> None:
        torch.manual_seed(0)
        model = family((2,)).double()
        params = 0.3 * torch.randn(3, *model.param_shape, dtype=torch.float64)
        p = Mixture(model(params))
        assert p.support == Ball(2, 1.0)
        log_probs = p.log_prob(p.sample((5,)))
        assert log_probs.shape == (5,)
        cold = tempered(prior((2,)).double()(), 0.5)
        assert mass(cold) == pytest.approx(1, abs=1e-6)  # type: ignore[arg-type]
        torch.testing.assert_close(cold.log_scale, torch.full_like(cold.log_scale, math.log(0.5)))  # type: ignore[attr-defined]
