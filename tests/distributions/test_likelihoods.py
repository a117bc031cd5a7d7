"""Likelihoods of continuous values against torch.distributions, quadrature and float64."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from scipy.stats import t as student
from torch import Tensor

from vae_zoo.distributions import ContinuousBernoulli, Family, FixedLaplace, LogCosh, SharedLaplace, StudentT
from vae_zoo.distributions.likelihoods import elementary as ours

LOGITS = torch.tensor([0.0, 1e-8, 1e-4, -1e-3, 0.03, -0.4, 0.999, -1.001, 3.0, -15.0, 80.0, -1e4, 1e4])
ROBUST = {
    "FixedLaplace": partial(FixedLaplace, scale=0.3),
    "SharedLaplace": partial(SharedLaplace, scale=0.3),
    "StudentT": partial(StudentT, scale=0.3, df=4.0),
    "StudentT, learned": partial(StudentT, scale=0.3, df=4.0, learn_df=True),
    "LogCosh": partial(LogCosh, scale=0.3),
}
robust = pytest.mark.parametrize("make", ROBUST.values(), ids=ROBUST)


def moments(logit: float) -> tuple[float, float, float]:
    """Log of the normaliser, mean and variance of e^(lx) on [0, 1], by Gauss quadrature."""
    nodes, weights = torch.tensor(GAUSS, dtype=torch.float64)
    peak = max(logit, 0.0)
    mass = weights * torch.exp(logit * nodes - peak)
    total = mass.sum()
    mean = (mass * nodes).sum() / total
    return (total.log() + peak).item(), mean.item(), ((mass * (nodes - mean).square()).sum() / total).item()


def _gauss() -> list[list[float]]:
    """Nodes and weights on [0, 1]: of 20 points on each of 60 intervals that shrink towards both ends."""
    import numpy as np

    node, weight = np.polynomial.legendre.leggauss(20)
    half = np.concatenate([[0.0], np.geomspace(1e-8, 0.5, 31)])
    cuts = np.concatenate([half, 1 - half[-2::-1]])
    size = np.diff(cuts)[:, None]
    return [(cuts[:-1, None] + size * (node + 1) / 2).ravel().tolist(), (size * weight / 2).ravel().tolist()]


GAUSS = _gauss()


class TestContinuousBernoulli:
    @pytest.mark.parametrize("logit", LOGITS[:-2].tolist())
    def test_agrees_with_quadrature(self, logit: float) -> None:
        log_normaliser, mean, variance = moments(logit)
        d = ours.ContinuousBernoulli(torch.tensor(logit, dtype=torch.float64))
        for x in (0.0, 0.3, 1.0):
            log_prob = d.log_prob(torch.tensor(x, dtype=torch.float64)).item()
            assert log_prob == pytest.approx(x * logit - log_normaliser, rel=1e-9, abs=1e-9)
        assert d.mean.item() == pytest.approx(mean, rel=1e-9)
        assert d.variance.item() == pytest.approx(variance, rel=1e-7)

    def test_agrees_with_torch(self) -> None:
        logits, x = 4 * torch.randn(50, 6), torch.rand(50, 6)
        expected = torch.distributions.ContinuousBernoulli(logits=logits.double())
        d = ContinuousBernoulli((6,))(logits)
        torch.testing.assert_close(d.log_prob(x).double(), expected.log_prob(x.double()).sum(-1), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(d.mean.double(), expected.mean, rtol=1e-4, atol=1e-4)

    def test_float32_everywhere(self) -> None:
        near = torch.logspace(-12, 4, 500)
        logits = torch.cat([near, -near, torch.zeros(1)])
        low, high = ours.ContinuousBernoulli(logits), ours.ContinuousBernoulli(logits.double())
        for x in (0.0, 0.1, 0.5, 1.0):
            value = torch.full_like(logits, x)
            exact = high.log_prob(value.double())
            torch.testing.assert_close(low.log_prob(value).double(), exact, rtol=2e-6, atol=3e-7)
        torch.testing.assert_close(low.mean.double(), high.mean, rtol=2e-6, atol=6e-8)
        torch.testing.assert_close(low.variance.double(), high.variance, rtol=1e-5, atol=1e-12)

    def test_gradient_is_the_residual(self) -> None:
        for x in (0.0, 0.5, 1.0):
            logits = LOGITS.clone().requires_grad_()
            d = ours.ContinuousBernoulli(logits)
            (grad,) = torch.autograd.grad(d.log_prob(torch.full_like(logits, x)).sum(), logits)
            torch.testing.assert_close(grad, x - d.mean.detach(), rtol=1e-5, atol=1e-6)

    def test_samples(self) -> None:
        d = ours.ContinuousBernoulli(LOGITS)
        x = d.sample((20_000,))
        assert x.min() >= 0
        assert x.max() <= 1
        error = d.stddev / 20_000**0.5
        assert ((x.mean(0) - d.mean).abs() <= 4.5 * error + 1e-6).all()
        torch.testing.assert_close(x.std(0), d.stddev, rtol=0.05, atol=1e-6)

    def test_it_is_not_the_bernoulli(self) -> None:
        """At logit 0 the density is that of the uniform distribution, not one half."""
        d = ContinuousBernoulli((4,))(torch.zeros(1, 4))
        assert d.log_prob(torch.rand(1, 4)).item() == pytest.approx(0, abs=1e-7)


class TestRobust:
    @robust
    def test_integrates_to_one(self, make: partial) -> None:
        d = make((1,)).double()(torch.zeros(1, 1).double())
        grid = torch.linspace(-300, 300, 600_001, dtype=torch.float64)  # the scale is .3, and the tail of t is long
        density = d.log_prob(grid[:, None, None]).exp().squeeze(1)
        assert torch.trapezoid(density, grid).item() == pytest.approx(1, rel=1e-6)
        if make.func is not StudentT:  # whose quadrature converges slowly
            assert torch.trapezoid(density * grid**2, grid).item() == pytest.approx(d.variance.item(), rel=1e-5)

    def test_agrees_with_torch(self) -> None:
        params, x = torch.randn(6, 3), torch.randn(6, 3)
        laplace = torch.distributions.Laplace(params, 0.3).log_prob(x).sum(-1)
        for make in (FixedLaplace, SharedLaplace):
            torch.testing.assert_close(make((3,), scale=0.3)(params).log_prob(x), laplace)
        of_torch = torch.distributions.StudentT(4.0, params, 0.3).log_prob(x).sum(-1)
        for learn_df in (False, True):
            family = StudentT((3,), scale=0.3, df=4.0, learn_df=learn_df)
            torch.testing.assert_close(family(params).log_prob(x), of_torch)
        secant = -(torch.cosh((x - params) / 0.3).log() + math.log(math.pi * 0.3)).sum(-1)
        torch.testing.assert_close(LogCosh((3,), scale=0.3)(params).log_prob(x), secant)

    @robust
    def test_float32_against_float64(self, make: partial) -> None:
        family, params, x = make((3,)), 3 * torch.randn(40, 3), torch.randn(40, 3)
        low = family(params).log_prob(x)
        exact = family.double()(params.double()).log_prob(x.double())
        torch.testing.assert_close(low.double(), exact, rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("df", [2.1, 19.0, 1e3, 1e5, 1e7])
    def test_any_degrees_of_freedom_in_single_precision(self, df: float) -> None:
        """The logarithms of the two gamma functions cancel; at 19, the slope of the series for one of them starts."""
        x, nu = torch.tensor([0.0, 0.3, 5.0]), torch.tensor(df).requires_grad_()
        found = ours.StudentT(nu, torch.zeros_like(x), 1.0).log_prob(x)
        (slope,) = torch.autograd.grad(found.sum(), nu)
        exact, step = nu.item(), 1.0001
        assert found.tolist() == pytest.approx(student.logpdf(x.numpy(), exact), rel=2e-6, abs=2e-6)
        rise = (student.logpdf(x.numpy(), exact * step) - student.logpdf(x.numpy(), exact / step)).sum()
        assert slope.item() == pytest.approx(rise / (exact * (step - 1 / step)), rel=1e-2, abs=1e-6)

    @robust
    def test_gradient_is_finite_far_out(self, make: partial) -> None:
        family = make((3,))
        params = torch.tensor([[1e4, -1e4, 0.0]]).requires_grad_()
        family(params).log_prob(torch.zeros(1, 3)).sum().backward()
        assert params.grad.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in family.parameters())

    def test_what_is_learned(self) -> None:
        assert not list(FixedLaplace((3,)).parameters())
        assert [name for name, _ in SharedLaplace((3,)).named_parameters()] == ["log_scale"]
        assert [name for name, _ in StudentT((3,)).named_parameters()] == ["log_scale"]
        assert len(list(StudentT((3,), learn_df=True).parameters())) == 2

    def test_a_learned_df_finds_the_tail(self) -> None:
        family, x = (
            StudentT((1,), df=20.0, scale=1.0, learn_df=True),
            torch.distributions.StudentT(3.0).sample((4000, 1)),
        )
        optimizer = torch.optim.Adam(family.parameters(), lr=0.1)
        for _ in range(100):
            optimizer.zero_grad()
            (-family(torch.zeros(4000, 1)).log_prob(x).mean()).backward()
            optimizer.step()
        assert 2 + family.log_excess_df.exp().item() == pytest.approx(3, abs=0.5)

    @pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
    def test_bad_values(self, bad: float) -> None:
        for make in (FixedLaplace, SharedLaplace, StudentT, LogCosh):
            with pytest.raises(ValueError, match=r"^scale must be positive and finite, got .*\.$"):
                make((3,), scale=bad)
        with pytest.raises(ValueError, match=r"^df must be above 2, for there to be a variance, and finite, got .*\.$"):
            StudentT((3,), df=bad)


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_refuses_what_is_outside_of_the_unit_interval(value: float) -> None:
    with pytest.raises(ValueError, match=r"^ContinuousBernoulli needs data in \[0, 1\], got from .*: divide 8-bit .*"):
        ContinuousBernoulli((3,)).check(torch.tensor([[0.0, 0.5, value]]))


def test_kinds() -> None:
    kinds: list[type[Family]] = [ContinuousBernoulli, FixedLaplace, SharedLaplace, StudentT, LogCosh]
    assert all(kind.is_density and not kind((3,)).is_discrete for kind in kinds)


def test_pickles_and_moves() -> None:
    x: Tensor = torch.rand(2, 3)
    for make in (*ROBUST.values(), ContinuousBernoulli):
        family = make((3,))
        again = make((3,))
        again.load_state_dict(family.state_dict())
        assert torch.equal(family(x).log_prob(x), again(x).log_prob(x))
