from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from vae_zoo.functional import bits_per_dim, expm1_minus, kl_normal, log_mean_exp, permute_dims, slerp


def arguments(dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(50, generator=generator, dtype=dtype) * s for s in (2.0, 1.0, 2.0, 1.0)]


class TestKLNormal:
    def test_agrees_with_torch(self) -> None:
        q_loc, q_log, p_loc, p_log = arguments()
        expected = kl_divergence(Normal(q_loc, q_log.exp()), Normal(p_loc, p_log.exp()))
        torch.testing.assert_close(kl_normal(q_loc, q_log, p_loc, p_log), expected, rtol=1e-6, atol=1e-12)

    def test_agrees_with_monte_carlo(self) -> None:
        q_loc, q_log, p_loc, p_log = (a[:5] for a in arguments())
        q, p = Normal(q_loc, q_log.exp()), Normal(p_loc, p_log.exp())
        z = q.sample((100_000,))
        log_ratio = q.log_prob(z) - p.log_prob(z)
        error = log_ratio.std(0) / len(z) ** 0.5
        assert ((log_ratio.mean(0) - kl_normal(q_loc, q_log, p_loc, p_log)).abs() < 4 * error).all()

    def test_zero_only_at_the_prior(self) -> None:
        loc, log_scale, *_ = arguments()
        assert (kl_normal(loc, log_scale, loc, log_scale) == 0).all()
        assert (kl_normal(loc + 1e-3, log_scale, loc, log_scale) > 0).all()

    @pytest.mark.parametrize("size", [1e-1, 1e-2, 1e-3, 1e-5, 1e-7])
    def test_exact_in_float32_near_the_prior(self, size: float) -> None:
        zero = torch.zeros(401)
        log_scale = torch.linspace(-size, size, 401)
        exact = kl_normal(zero.double(), log_scale.double(), zero.double(), zero.double())
        error = (kl_normal(zero, log_scale, zero, zero).double() - exact).abs()
        assert (kl_normal(zero, log_scale, zero, zero) >= 0).all()
        assert (error <= 1e-4 * exact).all()

    def test_gradient(self) -> None:
        small = [a[:5].requires_grad_() for a in arguments()]
        assert torch.autograd.gradcheck(kl_normal, small)

    def test_gradient_is_finite_at_and_near_the_prior(self) -> None:
        log_scale = torch.tensor([0.0, 1e-8, 0.15, -0.15, 30.0, -30.0], requires_grad=True)
        zero = torch.zeros(6)
        kl_normal(zero, log_scale, zero, zero).sum().backward()
        expected = torch.expm1(2 * log_scale.detach().double())
        torch.testing.assert_close(log_scale.grad.double(), expected, rtol=1e-4, atol=1e-7)


class TestExpm1Minus:
    def test_agrees_with_float64(self) -> None:
        t = torch.cat([torch.linspace(-20, 20, 4001), torch.logspace(-12, -1, 200), -torch.logspace(-12, -1, 200)])
        # The second source: the defining series in float64 where the plain formula cancels.
        d = t.double()
        series = sum(d**n / math.factorial(n) for n in range(2, 20))
        exact = torch.where(d.abs() < 1, series, d.exp() - 1 - d)
        assert ((expm1_minus(t).double() - exact).abs() <= 1e-5 * exact).all()

    def test_is_continuous_where_the_formula_changes(self) -> None:
        t = torch.tensor([0.3 - 1e-9, 0.3 + 1e-9], dtype=torch.float64)
        for sign in (1, -1):
            low, high = expm1_minus(sign * t)
            torch.testing.assert_close(low, high, rtol=1e-6, atol=0)

    def test_zero(self) -> None:
        assert expm1_minus(torch.zeros(())) == 0


class TestLogMeanExp:
    def test_agrees_with_the_definition(self) -> None:
        x = torch.randn(7, 3, 2, dtype=torch.float64)
        for dim in (0, 1, -1):
            torch.testing.assert_close(log_mean_exp(x, dim), x.exp().mean(dim).log())

    def test_large_values(self) -> None:
        assert log_mean_exp(torch.tensor([-1e4, -1e4])) == -1e4
        assert log_mean_exp(torch.tensor([1e4, -1e4])) == pytest.approx(1e4 - math.log(2))

    def test_of_one_is_itself(self) -> None:
        torch.testing.assert_close(log_mean_exp(torch.tensor([[3.0, -2.0]])), torch.tensor([3.0, -2.0]))


def test_bits_per_dim() -> None:
    # A uniform distribution over 256 levels takes 8 bits for each dimension.
    nats = torch.tensor([784 * math.log(256)])
    torch.testing.assert_close(bits_per_dim(nats, 784), torch.tensor([8.0]))


class TestCosinePath:
    def test_ends(self) -> None:
        start, end = torch.randn(2, 5, 8)
        path = slerp(start, end, 7)
        assert path.shape == (7, 5, 8)
        torch.testing.assert_close(path[0], start)
        torch.testing.assert_close(path[-1], end)

    def test_keeps_the_norm_and_divides_the_angle_evenly(self) -> None:
        start, end = torch.nn.functional.normalize(torch.randn(2, 5, 8, dtype=torch.float64), dim=-1)
        path = slerp(start, end, 9)
        torch.testing.assert_close(path.norm(dim=-1), torch.ones(9, 5, dtype=torch.float64), rtol=1e-6, atol=1e-6)
        steps = torch.arccos((path[1:] * path[:-1]).sum(-1))
        torch.testing.assert_close(steps, steps.mean(0).expand_as(steps), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("turn", [0.0, 1e-4, 1e-2, 1.0, 3.0])
    @pytest.mark.parametrize("dim", [1, 2, 8])
    def test_norms_stay_between_those_of_the_ends(self, dim: int, turn: float) -> None:
        """Between latents of different norms, also if they are opposite, as half of all pairs of single numbers are."""
        start = torch.randn(6, dim)
        path = slerp(start, -2 * start + turn * torch.randn(6, dim), 9)
        norm = path.norm(dim=-1)
        assert (norm < 1.01 * torch.maximum(norm[0], norm[-1])).all()
        if turn >= 1 and dim > 2:
            assert (norm > 0.99 * torch.minimum(norm[0], norm[-1])).all()

    @pytest.mark.parametrize("factor", [1.0, 2.0, -1.0, 0.0])
    def test_parallel_opposite_and_zero_ends_are_finite(self, factor: float) -> None:
        start = torch.randn(3, 4)
        path = slerp(start, factor * start, 5)
        assert path.isfinite().all()
        if factor > 0:
            torch.testing.assert_close(path[2], (1 + factor) / 2 * start, rtol=1e-3, atol=1e-3)


class TestPermuteDims:
    def test_keeps_the_marginals(self) -> None:
        z = torch.randn(3, 50, 4)
        permuted = permute_dims(z)
        assert torch.equal(permuted.sort(1).values, z.sort(1).values)
        assert not torch.equal(permuted, z)

    def test_breaks_the_joint(self) -> None:
        torch.manual_seed(0)
        z = torch.randn(4000, 1) + 0.1 * torch.randn(4000, 3)
        correlation = torch.corrcoef(permute_dims(z).T)
        assert torch.corrcoef(z.T).min() > 0.98
        assert (correlation - torch.eye(3)).abs().max() < 4 / math.sqrt(4000)

    def test_every_dimension_and_sample_has_its_own_order(self) -> None:
        order = permute_dims(torch.arange(20.0)[:, None].repeat(2, 1, 3)).transpose(0, 1).flatten(1)
        assert len({tuple(column) for column in order.T.tolist()}) == 6

    def test_orders_are_uniform(self) -> None:
        torch.manual_seed(0)
        z = torch.arange(3.0)[:, None].repeat(3000, 1, 1)
        codes = (permute_dims(z).squeeze(-1) @ torch.tensor([9.0, 3.0, 1.0])).long().unique(return_counts=True)[1]
        assert len(codes) == 6
        assert (codes - 500).abs().max() < 4.5 * math.sqrt(3000 / 6 * 5 / 6)

    def test_a_batch_of_one_stays(self) -> None:
        z = torch.randn(2, 1, 4)
        assert torch.equal(permute_dims(z), z)
