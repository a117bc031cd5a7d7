"""Disentanglement metrics based on information: two mutual information gaps, and modularity."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from vae_zoo.metrics.checks import check_counts
from vae_zoo.metrics.disentanglement.factors import FactorMetric
from vae_zoo.metrics.information import discretise, entropy, mutual_information

_CHUNK_ELEMENTS = 2**23


class MIG(FactorMetric):
    r"""Mutual information gap of posterior means in histograms, as in disentanglement_lib.

    .. math:: \frac{1}{F} \sum_k \frac{1}{H(v_k)} \Big( I(\hat z_{j_k}; v_k) - \max_{j \ne j_k} I(\hat z_j; v_k) \Big),
        \quad j_k = \arg\max_j I(\hat z_j; v_k)

    From 0 to 1. It differs from :class:`SampledMIG` and is usually larger, because means carry more information
    than samples. Compare only with papers that use the same of the two.

    References:
        | Challenging Common Assumptions in the Unsupervised Learning of Disentangled Representations (Locatello et al., 2019)
        | https://arxiv.org/abs/1811.12359

    Args:
        num_bins: Bins of equal width for each latent.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If num_bins is less than 1.
    """  # noqa: E501

    def __init__(self, *, num_bins: int = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(num_bins=num_bins)
        self.num_bins = num_bins

    def score(self, z: Tensor, v: Tensor) -> Tensor:
        return gap(mutual_information(discretise(z, self.num_bins), v) / entropy(v))


class SampledMIG(FactorMetric):
    r"""Mutual information gap of samples of the posterior, under the exact aggregate posterior of the set.

    .. math:: I(z_j; v_k) = \mathbb{E}_{v_k, z_j} \big[ \log q(z_j | v_k) - \log q(z_j) \big], \quad
        q(z_j) = \frac{1}{N} \sum_n q(z_j | x_n), \quad q(z_j | v_k) = \frac{1}{N_{v_k}} \sum_{n: v_k(n) = v_k} q(z_j | x_n)

    The gap is that of :class:`MIG`, from 0 to 1. Each sample's own posterior is one of those that share its value, which
    raises the information if few examples share it. The posteriors are diagonal normal.

    References:
        | Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al., 2018)
        | https://arxiv.org/abs/1802.04942

    Args:
        num_samples: Samples of the latent, spread evenly over the examples.
        seed: Seed of the samples.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If num_samples is less than 1.
    """  # noqa: E501

    def __init__(self, *, num_samples: int = 2000, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(num_samples=num_samples)
        self.num_samples, self.seed = num_samples, seed

    def update(self, mean: Tensor, log_scale: Tensor, factors: Tensor) -> None:  # type: ignore[override]
        """Add means and log σ of posteriors, (B, \\*latent) each, and the indices of their factors, (B, F)."""
        super().update(torch.cat([mean.flatten(1), log_scale.flatten(1)], 1), factors)

    def score(self, z: Tensor, v: Tensor) -> Tensor:
        mean, log_scale = z.chunk(2, 1)
        if mean.shape[1] < 2:
            raise ValueError("SampledMIG needs at least 2 latent dimensions, got 1.")
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randperm(len(z), generator=generator).repeat(-(-self.num_samples // len(z)))[: self.num_samples]
        noise = torch.randn(len(rows), mean.shape[1], generator=generator)
        rows, noise = rows.to(z.device), noise.to(z.device)
        information = [
            _information(
                mean, log_scale, v, part, mean[part] + log_scale[part].exp() * noise[start : start + len(part)]
            )
            for start, part in _parts(rows, max(1, _CHUNK_ELEMENTS // mean.numel()))
        ]
        return gap((torch.cat(information).mean(0).double() / entropy(v).to(z.device)).clamp(min=0))


class Modularity(FactorMetric):
    r"""How exclusively each latent encodes one factor.

    .. math:: \frac{1}{D} \sum_j \Big( 1 - \frac{\sum_{k \ne k_j} I(\hat z_j; v_k)^2}{(F - 1)\, I(\hat z_j; v_{k_j})^2} \Big),
        \quad k_j = \arg\max_k I(\hat z_j; v_k)

    From 0 to 1, on posterior means in histograms. Several latents may share a factor. A latent without information
    contributes little, but not 0, because information estimated from counts is biased upwards.

    References:
        | Learning Deep Disentangled Embeddings with the F-Statistic Loss (Ridgeway and Mozer, 2018)
        | https://arxiv.org/abs/1802.05312

    Args:
        num_bins: Bins of equal width for each latent.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If num_bins is less than 1.
    """  # noqa: E501

    min_factors = 2

    def __init__(self, *, num_bins: int = 20, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(num_bins=num_bins)
        self.num_bins = num_bins

    def score(self, z: Tensor, v: Tensor) -> Tensor:
        squared = mutual_information(discretise(z, self.num_bins), v).square()
        largest = squared.amax(1)
        others = (squared.sum(1) - largest) / (v.shape[1] - 1)
        return torch.where(largest > 0, 1 - others / largest, 0.0).mean()


def gap(score: Tensor) -> Tensor:
    """Mean over factors of the distance between the best latent and the next, of scores (D, F)."""
    best = score.topk(2, dim=0).values
    return (best[0] - best[1]).mean()


def _parts(rows: Tensor, size: int) -> list[tuple[int, Tensor]]:
    return [(start, rows[start : start + size]) for start in range(0, len(rows), size)]


def _information(mean: Tensor, log_scale: Tensor, v: Tensor, rows: Tensor, z: Tensor) -> Tensor:
    """Information of samples z (S, D) of the posteriors of some rows with each factor, (S, D, F)."""
    log_q = -0.5 * ((z[:, None] - mean) * torch.exp(-log_scale)).square() - log_scale  # (S, N, D)
    marginal = log_q.logsumexp(1) - math.log(len(mean))
    terms = []
    for column in v.unbind(1):
        same = column[rows][:, None] == column
        among = log_q.masked_fill(~same[..., None], -math.inf).logsumexp(1) - same.sum(1, keepdim=True).log()
        terms.append(among - marginal)
    return torch.stack(terms, -1)
