"""The von Mises–Fisher distribution against closed forms, quadrature and the distribution function of its angle."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from vae_zoo.distributions import Mixture, StandardNormal, UniformSphere, VonMisesFisher, check_pair, kl, tempered
from vae_zoo.distributions.sphere.bessel import bessel_ratio
from vae_zoo.distributions.sphere.uniform import log_area
from vae_zoo.distributions.sphere.von_mises_fisher import VMF, angles
from vae_zoo.distributions.supports import Sphere

LEVEL = 1e-4


def vmf(concentration: float | Tensor, dim: int, batch: int = 1) -> VMF:
    """With a mean direction of no special place."""
    loc = torch.arange(1, dim + 1, dtype=torch.float64).cos().expand(batch, dim)
    k = torch.as_tensor(concentration, dtype=torch.float64).expand(batch)
    return VMF(loc / loc.norm(dim=-1, keepdim=True), k)


def rate(q: VMF) -> Tensor:
    return kl(q, UniformSphere((q.dim,)).double()(), torch.empty(0))


@pytest.mark.parametrize(
    ("dim", "concentration", "value"),
    [(3, 1.0, 0.151596), (2, 1.0, 0.210476), (10, 10.0, 2.484470), (3, 100.0, 4.298317)],
)
def test_values_of_the_divergence(dim: int, concentration: float, value: float) -> None:
    assert rate(vmf(concentration, dim)).item() == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("k", [1e-3, 0.5, 5.0, 300.0])
def test_divergence_on_the_usual_sphere(k: float) -> None:
    """κ coth κ - 1 - log(sinh κ / κ), without the overflow of sinh."""
    log_sinh = k + math.log(-math.expm1(-2 * k)) - math.log(2)
    closed = k / math.tanh(k) - 1 - log_sinh + math.log(k)
    assert rate(vmf(k, 3)).item() == pytest.approx(closed, abs=1e-9)


@pytest.mark.parametrize("dim", [2, 3, 64, 128, 512])
@pytest.mark.parametrize("concentration", [1e-3, 1.5, 100.0, 1e5])
def test_everything_is_finite(dim: int, concentration: float) -> None:
    """Also where the Bessel functions themselves under- or overflow; in other zoos from 64 dimensions on."""
    k = torch.tensor([concentration], requires_grad=True)
    q = VMF(torch.eye(dim)[:1], k)
    torch.manual_seed(0)
    z = q.rsample((5,))
    total = rate(q).sum() + q.log_prob(z).sum() + z.square().sum()
    (grad,) = torch.autograd.grad(total, k)
    assert total.isfinite()
    assert grad.isfinite().all()
    assert float(grad.abs()) < 10
    assert Sphere(dim).check(z).all()
    assert -1e-6 < rate(q).item() < 3000


def test_density_integrates_to_one() -> None:
    q = vmf(7.0, 3)

    def density(t: float, phi: float) -> float:
        z = torch.tensor([math.sin(t) * math.cos(phi), math.sin(t) * math.sin(phi), math.cos(t)], dtype=torch.float64)
        return q.log_prob(z).exp().item() * math.sin(t)

    total, _ = integrate.dblquad(density, 0, 2 * math.pi, 0, math.pi, epsabs=1e-5, epsrel=1e-5)
    assert total == pytest.approx(1, abs=1e-5)
    p = UniformSphere((3,)).double()()
    assert p.log_prob(q.loc).item() == pytest.approx(-math.log(4 * math.pi))
    torch.manual_seed(0)
    torch.testing.assert_close(p.sample((20_000,)).std(0), p.stddev, rtol=0.02, atol=0)


@pytest.mark.parametrize(("dim", "concentration"), [(2, 0.5), (3, 2.0), (5, 30.0), (40, 1.0)])
def test_samples_follow_the_density(dim: int, concentration: float) -> None:
    """The cosine to the mean direction, against the integral of its density by scipy."""
    q = vmf(concentration, dim)
    torch.manual_seed(1)
    z = q.sample((4000,))[:, 0]
    assert Sphere(dim).check(z).all()
    angle = torch.arccos((z @ q.loc[0]).clamp(-1, 1)).numpy()

    def density(t: float) -> float:
        return math.exp(concentration * (math.cos(t) - 1)) * math.sin(t) ** (dim - 2)

    norm = integrate.quad(density, 0, math.pi)[0]
    grid = torch.linspace(0, math.pi, 400).tolist()
    parts = [integrate.quad(density, a, b)[0] / norm for a, b in itertools.pairwise(grid)]
    known = torch.cat([torch.zeros(1), torch.tensor(parts).cumsum(0)]).numpy()
    assert stats.kstest(angle, lambda t: np.interp(t, grid, known)).pvalue > LEVEL


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_samples_are_symmetric_around_the_mean(dim: int) -> None:
    q = vmf(3.0, dim)
    torch.manual_seed(2)
    z = q.sample((40_000,))[:, 0]
    torch.testing.assert_close(z.mean(0), q.resultant * q.loc[0], rtol=0, atol=0.015)
    torch.testing.assert_close(z.std(0), q.stddev[0], rtol=0.03, atol=0)
    away = z - (z @ q.loc[0])[:, None] * q.loc[0]
    spread = away.T @ away / len(z)
    expected = q.resultant / 3 * (torch.eye(dim) - torch.outer(q.loc[0], q.loc[0]))
    torch.testing.assert_close(spread, expected.double(), rtol=0, atol=0.01)


@pytest.mark.parametrize(("dim", "concentration"), [(2, 2.0), (3, 1.0), (8, 20.0)])
def test_derivative_of_the_mean(dim: int, concentration: float) -> None:
    """d E[μ·z a] / dκ of samples is that of the closed mean: an accept–reject draw without its correction fails."""
    k = torch.tensor(concentration, dtype=torch.float64, requires_grad=True)
    q = vmf(k, dim, batch=8_000)
    torch.manual_seed(3)
    projected = 1.7 * (q.rsample() * q.loc).sum(-1)
    (each,) = torch.autograd.grad(projected.sum(), q.concentration)
    exact = torch.autograd.grad(1.7 * bessel_ratio(dim / 2 - 1, k), k)[0]
    error = each.std() / len(each) ** 0.5
    assert abs(each.mean() - exact) < 4 * error
    assert error < 0.03 * exact


@pytest.mark.parametrize("first", [1.0, -1.0, 0.0])
def test_derivative_by_the_mean_direction(first: float) -> None:
    """E[a·z] is A a·μ for every direction, poles included, where a reflection may be divided by 0."""
    loc = torch.tensor([first, 0.0, 1.0 - abs(first)], dtype=torch.float64).expand(6_000, 3).clone().requires_grad_()
    q = VMF(loc, torch.full((6_000,), 4.0, dtype=torch.float64))
    torch.manual_seed(4)
    a = torch.tensor([0.3, -1.2, 0.5], dtype=torch.float64)
    (grad,) = torch.autograd.grad((q.rsample() @ a).sum(), loc)
    tangent = a - (a @ loc[0]) * loc[0].detach()
    found = grad - (grad * loc).sum(-1, keepdim=True) * loc  # what a change of length would do is of no account
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - q.resultant[0] * tangent).abs() < 4 * error + 1e-9).all()


def test_float32_does_not_multiply_what_a_norm_is_off() -> None:
    """κ times the rounding of z is 0.006 nats at κ = 1e5 by the scalar product."""
    q = VMF(torch.tensor([[0.6, 0.0, 0.8]]), torch.tensor([1e5]))
    torch.manual_seed(0)
    z = q.sample((1000,))
    exact = VMF(torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64), torch.tensor([1e5], dtype=torch.float64))
    unit = z.double() / z.double().norm(dim=-1, keepdim=True)
    assert (q.log_prob(z) - exact.log_prob(unit)).abs().max() < 1e-3


def test_angles_in_extremes() -> None:
    for dim in (2, 3, 10, 512):
        k = torch.tensor([1e-3, 1.0, 30.0, 1e5], dtype=torch.float64)
        table = angles(k, dim)
        u = torch.tensor([1e-8, 0.01, 0.5, 0.99, 1 - 1e-8], dtype=torch.float64).expand(4, -1)
        t, slope = table.solve(u)
        torch.testing.assert_close(table.cdf(t), u, rtol=0, atol=1e-10)
        torch.testing.assert_close(table.mean_score, bessel_ratio(dim / 2 - 1, k), rtol=1e-11, atol=1e-15)
        assert (slope < 0).all()  # more concentration brings every sample nearer


class TestFamily:
    def test_parameters(self) -> None:
        params = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 2e5]])
        q = VonMisesFisher((3,))(params)
        torch.testing.assert_close(q.mean[0], torch.tensor([0.6, 0.8, 0.0]))
        torch.testing.assert_close(q.concentration.float(), torch.tensor([1 + math.log(2), 1e5]))
        assert Sphere(3).check(q.mean).all()  # also where the network gives no direction
        assert Sphere(3).check(q.rsample((4,))).all()

    def test_support_and_pairs(self) -> None:
        assert VonMisesFisher((3,)).support == Sphere(3)
        check_pair(VonMisesFisher((3,)), UniformSphere((3,)))
        with pytest.raises(ValueError, match="do not go together: the prior lies on"):
            check_pair(VonMisesFisher((3,)), StandardNormal((3,)))

    @pytest.mark.parametrize("cls", [VonMisesFisher, UniformSphere])
    @pytest.mark.parametrize("shape", [(1,), (1, 4, 4)])
    def test_shapes_that_are_no_sphere(self, cls: type, shape: tuple[int, ...]) -> None:
        with pytest.raises(ValueError, match=f"{cls.__name__} needs latents that are vectors of at least 2 numbers"):
            cls(shape)

    @pytest.mark.parametrize("bounds", [(0, 1), (2, 1), (1, math.inf)])
    def test_bounds(self, bounds: tuple[float, float]) -> None:
        with pytest.raises(ValueError, match="min_concentration must be above 0 and below max_concentration"):
            VonMisesFisher((3,), min_concentration=bounds[0], max_concentration=bounds[1])

    def test_float32_whatever_the_network_gives(self) -> None:
        q = VonMisesFisher((3,))(torch.randn(2, 4).bfloat16())
        z = q.rsample((2,))
        assert {z.dtype, q.log_prob(z).dtype, q.mean.dtype, q.stddev.dtype, rate(q).dtype} == {torch.float32}

    def test_mixture_and_temperature(self) -> None:
        q = VonMisesFisher((3,))(torch.randn(5, 4))
        p = Mixture(q)
        z = p.sample((20_000,))
        assert p.support == Sphere(3)
        uniform = UniformSphere((3,))().sample((20_000,))
        mass = (p.log_prob(uniform) + log_area(3)).exp().mean().item()
        assert mass == pytest.approx(1, abs=0.05)
        cold = tempered(p, 0.1)
        assert cold.log_prob(z).mean() < p.log_prob(z).mean()
        torch.testing.assert_close(cold.components.concentration, 100 * q.concentration)  # type: ignore[attr-defined]
