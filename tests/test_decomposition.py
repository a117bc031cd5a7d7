"""The decomposition of the divergence: estimates from batches against exact sums over a small set."""

from __future__ import annotations

import pytest
import torch
from short import few
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vae_zoo import functional
from vae_zoo.functional import log_normal

Terms = tuple[Tensor, Tensor, Tensor]


def posteriors(num: int, dim: int = 2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Posteriors whose dimensions correlate over the set."""
    generator = torch.Generator().manual_seed(seed)
    base = torch.randn(num, dim, generator=generator, dtype=torch.float64)
    loc = base @ (torch.eye(dim, dtype=torch.float64) + 0.8 * torch.ones(dim, dim, dtype=torch.float64)) * 0.6
    return loc, -0.7 + 0.2 * torch.randn(num, dim, generator=generator, dtype=torch.float64)


def log_prior(z: Tensor) -> Tensor:
    return Normal(0.0, 1.0).log_prob(z)


def decompose_kl(z: Tensor, loc: Tensor, log_scale: Tensor, log_pz: Tensor, num_train: int, **kwargs: bool) -> Terms:
    """Of normal posteriors, and of a prior given dimension by dimension."""
    log_qz = log_normal(z.unsqueeze(-2), loc, log_scale)
    return functional.decompose_kl(log_qz, log_pz.sum(-1), num_train, **kwargs)


def by_loops(z: Tensor, loc: Tensor, log_scale: Tensor, weight: Tensor) -> Terms:
    """The three terms, written as the sums that they are; weight[i, j] of example j in the density of z[i]."""
    num, dim = z.shape
    mi = tc = dw = torch.zeros((), dtype=z.dtype)
    for i in range(num):
        q_d = [Normal(loc[:, d], log_scale[:, d].exp()).log_prob(z[i, d]).exp() for d in range(dim)]
        q = torch.stack(q_d).prod(0)
        log_q = (weight[i] * q).sum().log()
        log_marginals = torch.stack([(weight[i] * q_d[d]).sum().log() for d in range(dim)])
        mi = mi + (q[i].log() - log_q) / num
        tc = tc + (log_q - log_marginals.sum()) / num
        dw = dw + (log_marginals - log_prior(z[i])).sum() / num
    return mi, tc, dw


def stratified(num: int, num_train: int) -> Tensor:
    weight = torch.full((num, num), (num_train - 1) / num_train / (num - 1), dtype=torch.float64)
    weight.fill_diagonal_(1 / num_train)
    return weight


class TestEstimators:
    @pytest.mark.parametrize("num_train", [5, 9, 1000])
    def test_agree_with_loops(self, num_train: int) -> None:
        loc, log_scale = posteriors(5, 3)
        z = loc + log_scale.exp() * torch.randn(5, 3, dtype=torch.float64)
        weights = {True: stratified(5, num_train), False: torch.full((5, 5), 1 / (5 * num_train), dtype=loc.dtype)}
        for flag, weight in weights.items():
            found = decompose_kl(z, loc, log_scale, log_prior(z), num_train, stratified=flag)
            torch.testing.assert_close(found, by_loops(z, loc, log_scale, weight))

    @pytest.mark.parametrize("flag", [True, False])
    def test_add_up_to_the_divergence(self, flag: bool) -> None:
        loc, log_scale = posteriors(6, 4)
        q = Normal(loc, log_scale.exp())
        z = q.sample((8000,))
        found = sum(decompose_kl(z, loc, log_scale, log_prior(z), 50, stratified=flag))
        torch.testing.assert_close(found, (q.log_prob(z) - log_prior(z)).sum(-1).mean())
        torch.testing.assert_close(found, kl_divergence(q, Normal(0.0, 1.0)).sum(-1).mean(), rtol=0.01, atol=0)

    def test_the_stratified_density_is_unbiased(self) -> None:
        """Over all batches that hold an example, its weights average to 1 / N of every example."""
        num_train, num = 6, 3
        total, count = torch.zeros(num_train, dtype=torch.float64), 0
        for a in range(1, num_train):
            for b in range(1, num_train):
                if a != b:
                    total[[0, a, b]] += stratified(num, num_train)[0]
                    count += 1
        torch.testing.assert_close(total / count, torch.full_like(total, 1 / num_train))

    def test_does_not_depend_on_the_order(self) -> None:
        loc, log_scale = posteriors(8)
        z, order = loc + 0.3, torch.randperm(8)
        first = decompose_kl(z, loc, log_scale, log_prior(z), 100)
        torch.testing.assert_close(
            decompose_kl(z[order], loc[order], log_scale[order], log_prior(z)[order], 100), first
        )

    def test_one_posterior_for_all_has_no_information(self) -> None:
        loc, log_scale = torch.ones(16, 3), torch.full((16, 3), -0.5)
        z = Normal(loc, log_scale.exp()).sample((5000,))
        mi, tc, dw = decompose_kl(z, loc, log_scale, log_prior(z), 1000)
        torch.testing.assert_close((mi, tc), (torch.zeros(()), torch.zeros(())), rtol=0, atol=1e-4)
        exact = kl_divergence(Normal(loc, log_scale.exp()), Normal(0.0, 1.0)).sum(-1).mean()
        torch.testing.assert_close(dw, exact, rtol=0.01, atol=0)

    @pytest.mark.parametrize("flag", few([True, False], 1))
    def test_compiles_into_one_graph_with_a_gradient(self, flag: bool) -> None:
        loc, log_scale = (t.float().requires_grad_() for t in posteriors(7))
        noise = torch.randn(7, 2)

        def terms(loc: Tensor, log_scale: Tensor) -> Terms:
            z = loc + log_scale.exp() * noise
            return decompose_kl(z, loc, log_scale, -0.5 * z.square(), 40, stratified=flag)

        found = torch.compile(terms, fullgraph=True, backend="eager")(loc, log_scale)
        torch.testing.assert_close(found, terms(loc, log_scale))
        gradients = torch.autograd.grad(found[1], (loc, log_scale))
        assert all(g.isfinite().all() and (g != 0).any() for g in gradients)

    def test_float32_under_autocast(self) -> None:
        loc, log_scale = posteriors(32, 5)
        z = loc + log_scale.exp() * torch.randn(32, 5, dtype=torch.float64)
        exact = decompose_kl(z, loc, log_scale, log_prior(z), 500)
        with torch.autocast("cpu", torch.bfloat16):
            found = decompose_kl(z.float(), loc.float(), log_scale.float(), log_prior(z.float()), 500)
        torch.testing.assert_close(torch.stack(found).double(), torch.stack(exact), rtol=1e-4, atol=1e-4)

    def test_a_batch_of_one_is_finite(self) -> None:
        z = torch.randn(1, 3)
        assert torch.stack(decompose_kl(z, z, z, log_prior(z), 10)).isfinite().all()

    def test_errors(self) -> None:
        z = torch.zeros(2, 2)
        with pytest.raises(ValueError, match="num_train must be at least 1, got 0"):
            decompose_kl(z, z, z, z, 0)


def test_log_normal_agrees_with_torch() -> None:
    z, loc, log_scale = torch.randn(3, 7, 2, dtype=torch.float64)
    torch.testing.assert_close(log_normal(z, loc, log_scale), Normal(loc, log_scale.exp()).log_prob(z))
