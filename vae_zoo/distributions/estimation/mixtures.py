"""Maximum likelihood of mixtures of normal distributions, by expectation maximisation."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from vae_zoo.distributions.estimation.moments import factor, ridge_of

_ELEMENTS = 2**22
"""Standardised gaps of latents from components that are held at once: 32 MiB of float64."""

_LLOYD_STEPS = 10
"""Steps of k-means before the first expectation."""


class NormalMixture(NamedTuple):
    r"""A mixture of K normal distributions over D dimensions, with full covariances.

    .. math:: p(z) = \sum_k \pi_k \, \mathcal{N}(z; \mu_k, L_k L_k^\top)

    Args:
        log_shares: log π, (K,).
        loc: Means μ, (K, D).
        tril: Lower Cholesky factors L of the covariances, (K, D, D).
    """

    log_shares: Tensor
    loc: Tensor
    tril: Tensor

    def log_joint(self, z: Tensor) -> Tensor:
        """log π + log N(z) of latents (N, D) and components, (N, K)."""
        num, dim = self.loc.shape
        inverse = torch.linalg.solve_triangular(
            self.tril, torch.eye(dim, dtype=z.dtype).expand(num, -1, -1), upper=False
        )
        offset = (inverse @ self.loc[:, :, None]).squeeze(-1)  # L⁻¹ μ
        constant = self.log_shares - self.tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = constant - 0.5 * dim * math.log(2 * math.pi)
        found = []
        for part in z.split(max(1, _ELEMENTS // (num * dim))):
            noise = torch.einsum("kij,nj->nki", inverse, part) - offset
            found.append(constant - 0.5 * noise.square().sum(-1))
        return torch.cat(found)


def fit_mixture(
    z: Tensor,
    num_components: int,
    *,
    generator: torch.Generator,
    num_starts: int = 3,
    max_steps: int = 200,
    tolerance: float = 1e-4,
) -> tuple[NormalMixture, float]:
    """The best mixture of several starts.

    Args:
        z: Latents, (N, D), float64.
        num_components: Number of components K, at most N.
        generator: Source of the starts.
        num_starts: Number of starts, from different means.
        max_steps: Largest number of steps of a start.
        tolerance: Rise of the mean log-likelihood in a step, in nats, below which it ends.

    Returns:
        The mixture, and the mean log-likelihood of the latents, in nats.
    """
    best: tuple[NormalMixture, float] | None = None
    for _ in range(num_starts):
        found = _climb(z, k_means(z, num_components, generator), max_steps, tolerance)
        if best is None or found[1] > best[1]:
            best = found
    assert best is not None
    return best


def k_means(z: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Centres of clusters of latents (N, D), (num, D): k-means++ and a few steps of Lloyd's algorithm.

    References:
        | k-means++: The Advantages of Careful Seeding (Arthur and Vassilvitskii, 2007)
        | https://theory.stanford.edu/~sergei/papers/kMeansPP-soda.pdf

    Args:
        z: Latents, (N, D).
        num: Number of centres, at most N.
        generator: Source of the first centres.
    """
    centres = z[torch.randint(len(z), (1,), generator=generator)]
    nearest = (z - centres).square().sum(1)
    for _ in range(num - 1):
        chances = nearest if bool(nearest.any()) else torch.ones_like(nearest)  # of fewer distinct latents
        at = torch.searchsorted(chances.cumsum(0), chances.sum() * torch.rand(1, generator=generator, dtype=z.dtype))
        new = z[at.clamp(max=len(z) - 1)]
        centres = torch.cat([centres, new])
        nearest = torch.minimum(nearest, (z - new).square().sum(1))
    for _ in range(_LLOYD_STEPS):
        index = torch.cat([_gaps(part, centres).argmin(1) for part in z.split(_chunk(centres))])
        counts = index.bincount(minlength=num)
        sums = torch.zeros_like(centres).index_add_(0, index, z)
        centres = torch.where(counts[:, None] > 0, sums / counts.clamp(min=1)[:, None], centres)
    return centres


def _climb(z: Tensor, centres: Tensor, max_steps: int, tolerance: float) -> tuple[NormalMixture, float]:
    ridge = ridge_of(z)
    index = torch.cat([_gaps(part, centres).argmin(1) for part in z.split(_chunk(centres))])
    mixture = _maximised(z, torch.nn.functional.one_hot(index, len(centres)).to(z.dtype), ridge)
    before = -math.inf
    for _ in range(max_steps):
        joint = mixture.log_joint(z)
        total = torch.logsumexp(joint, 1, keepdim=True)
        value = total.mean().item()
        if value - before < tolerance:
            break
        before = value
        mixture = _maximised(z, torch.exp(joint - total), ridge)
    return mixture, value


def _maximised(z: Tensor, shares: Tensor, ridge: Tensor) -> NormalMixture:
    """The mixture in which each component has the moments of its shares (N, K) of the latents."""
    counts = shares.sum(0).clamp(min=torch.finfo(z.dtype).tiny)
    loc = (shares.T @ z) / counts[:, None]
    covariances = []
    for k in range(len(counts)):
        gap = z - loc[k]
        covariances.append((shares[:, k, None] * gap).T @ gap / counts[k])
    return NormalMixture(torch.log(counts / counts.sum()), loc, factor(torch.stack(covariances), ridge))


def _gaps(z: Tensor, centres: Tensor) -> Tensor:
    return torch.cdist(z, centres, compute_mode="donot_use_mm_for_euclid_dist")


def _chunk(centres: Tensor) -> int:
    return max(1, _ELEMENTS // centres.numel())
