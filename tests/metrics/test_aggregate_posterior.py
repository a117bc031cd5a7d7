"""The decomposition over a finite set against quadrature, and the estimators from batches against it."""

from __future__ import annotations

import math

import pytest
import torch
from test_decomposition import Terms, log_prior, posteriors
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from vae_zoo.functional import decompose_kl, log_normal
from vae_zoo.metrics import AggregatePosterior

NAMES = ("mutual_information", "total_correlation", "dimension_wise_kl")


def exact(loc: Tensor, log_scale: Tensor, **kwargs: object) -> Terms:
    metric = AggregatePosterior(**kwargs)
    metric.update(loc, log_scale)
    return tuple(metric.compute().values())


def by_quadrature(loc: Tensor, log_scale: Tensor) -> Tensor:
    """The three terms in two dimensions, by sums over a grid that reaches far into the tails."""
    t = torch.linspace(-8, 8, 801, dtype=torch.float64)
    cell = (t[1] - t[0]) ** 2
    density = [log_normal(t[:, None], loc[:, d], log_scale[:, d]).exp() for d in range(2)]  # (grid, N)
    each = density[0].T[:, :, None] * density[1].T[:, None]
    joint = each.mean(0)
    marginals = density[0].mean(1)[:, None] * density[1].mean(1)
    prior = log_prior(t)[:, None] + log_prior(t)
    mi = torch.xlogy(each, each).sum((1, 2)).mean() - torch.xlogy(joint, joint).sum()
    tc = torch.xlogy(joint, joint).sum() - torch.xlogy(joint, marginals).sum()
    dw = torch.xlogy(joint, marginals).sum() - (joint * prior).sum()
    return torch.stack([mi, tc, dw]) * cell


class TestAggregatePosterior:
    @pytest.mark.parametrize("num", [1, 2, 7])
    def test_agrees_with_quadrature(self, num: int) -> None:
        loc, log_scale = posteriors(num)
        found = torch.stack(exact(loc, log_scale, num_samples=40_000 // num))
        torch.testing.assert_close(found, by_quadrature(loc, log_scale), rtol=0.02, atol=0.01)

    def test_two_far_points_hold_one_bit(self) -> None:
        loc, log_scale = torch.tensor([[-9.0, -9.0], [9.0, 9.0]]), torch.zeros(2, 2)
        mi, tc, _ = exact(loc, log_scale, num_samples=10)
        torch.testing.assert_close((mi, tc), (torch.tensor(math.log(2)), torch.tensor(math.log(2))))

    def test_adds_up_to_the_rate(self) -> None:
        loc, log_scale = posteriors(300, 4)
        rate = kl_divergence(Normal(loc, log_scale.exp()), Normal(0.0, 1.0)).sum(-1).mean()
        torch.testing.assert_close(sum(exact(loc, log_scale, num_samples=50)), rate, rtol=0.03, atol=0)

    def test_neither_chunks_nor_batches_matter(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loc, log_scale = posteriors(50, 3)
        expected = exact(loc, log_scale)
        metric = AggregatePosterior()
        for part in (slice(0, 20), slice(20, 50)):
            metric.update(loc[part], log_scale[part])
        monkeypatch.setattr("vae_zoo.metrics.aggregate_posterior._CHUNK_ELEMENTS", 1000)
        torch.testing.assert_close(tuple(metric.compute().values()), expected)
        assert exact(loc, log_scale, seed=1) != expected

    def test_another_prior(self) -> None:
        loc, log_scale = posteriors(50)
        names = AggregatePosterior(log_prior=None)
        names.update(loc, log_scale)
        assert tuple(names.compute()) == NAMES[:2]
        prior = Normal(0.5, 2.0)
        rate = kl_divergence(Normal(loc, log_scale.exp()), prior).sum(-1).mean()
        found = exact(loc, log_scale, num_samples=50, log_prior=prior.log_prob)
        torch.testing.assert_close(sum(found), rate, rtol=0.02, atol=0)

    def test_errors(self) -> None:
        with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
            AggregatePosterior(num_samples=0)


@pytest.fixture(scope="module")
def two_thousand() -> tuple[Tensor, Tensor, Terms]:
    loc, log_scale = (t.float() for t in posteriors(2000, 3))
    return loc, log_scale, exact(loc, log_scale, num_samples=5)


def estimated(loc: Tensor, log_scale: Tensor, size: int, batches: int, *, stratified: bool) -> Terms:
    total = torch.zeros(3)
    for _ in range(batches):
        part = torch.randperm(len(loc))[:size]
        z = loc[part] + log_scale[part].exp() * torch.randn(size, loc.shape[1])
        log_qz = log_normal(z.unsqueeze(-2), loc[part], log_scale[part])
        terms = decompose_kl(log_qz, log_prior(z).sum(-1), len(loc), stratified=stratified)
        total += torch.stack(terms) / batches
    return tuple(total)


class TestEstimatorsFromBatches:
    @pytest.mark.exhaustive
    def test_stratified_within_five_percent(self, two_thousand: tuple[Tensor, Tensor, Terms]) -> None:
        """Batches of 500 of 2,000 examples, the mean over 60 of them. Smaller batches are biased, see below."""
        loc, log_scale, expected = two_thousand
        found = estimated(loc, log_scale, 500, 60, stratified=True)
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0)

    def test_small_batches_see_too_much_information(self, two_thousand: tuple[Tensor, Tensor, Terms]) -> None:
        """The logarithm of an unbiased density is too low: by a few per cent in batches of 64 in 3 dimensions."""
        loc, log_scale, expected = two_thousand
        mi, _, _ = estimated(loc, log_scale, 64, 200, stratified=True)
        assert 1.02 < mi / expected[0] < 1.15

    def test_weighted_is_off_by_the_logarithm_of_the_set(self, two_thousand: tuple[Tensor, Tensor, Terms]) -> None:
        """Its densities are too low by about log N: the joint one, and that of each dimension."""
        loc, log_scale, expected = two_thousand
        found = estimated(loc, log_scale, 256, 30, stratified=False)
        offset = torch.stack([a - b for a, b in zip(found, expected, strict=True)]) / math.log(2000)
        torch.testing.assert_close(offset, torch.tensor([1.0, 2.0, -3.0]), rtol=0.05, atol=0)

    def test_the_whole_set_as_one_batch_is_exact(self, two_thousand: tuple[Tensor, Tensor, Terms]) -> None:
        loc, log_scale, _ = two_thousand
        loc, log_scale = loc[:200], log_scale[:200]
        noise = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
        z = loc + log_scale.exp() * noise
        found = decompose_kl(log_normal(z.unsqueeze(-2), loc, log_scale), log_prior(z).sum(-1), 200)
        torch.testing.assert_close(found, exact(loc, log_scale, seed=0), rtol=1e-4, atol=1e-4)
