"""The covariance of the aggregate posterior."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vae_zoo.distributions.location_scale import CholeskyNormal
from vae_zoo.penalties.base import Penalty
from vae_zoo.typing import Shape


class Covariance(Penalty):
    r"""Distance of the covariance Σ of the aggregate posterior from the identity.

    .. math:: R = \lambda_{od} \sum_{i \ne j} \Sigma_{ij}^2 + \lambda_d \sum_i (\Sigma_{ii} - 1)^2,
        \quad \Sigma = \mathrm{Cov}[\mu(x)] \; \big( + \, \mathbb{E}[\mathrm{Cov}(z|x)] \big)

    The first covariance is that of the posterior's means (kind I), the sum is that of its samples (kind II). Both are
    estimated within the batch, with 1 / B; each process uses its own examples only.

    References:
        | Variational Inference of Disentangled Latent Concepts from Unlabeled Observations (Kumar et al., 2018)
        | https://arxiv.org/abs/1711.00848

    Args:
        shape: Shape of one latent; supplied by the model.
        weight: Weight of the penalty.
        off_diagonal: Weight λ_od of the covariances.
        diagonal: Weight λ_d of the variances.
        means_only: Whether to use the covariance of the means only.

    Raises:
        ValueError: If a weight is negative or not finite; for a posterior that is neither of independent dimensions nor
            ``FullNormal``, whose covariance is not known.
    """

    units = {"covariance": "weighted squared entries"}
    min_batch_size = 2

    def __init__(
        self,
        shape: Shape,
        *,
        weight: float = 1.0,
        off_diagonal: float = 1.0,
        diagonal: float = 1.0,
        means_only: bool = False,
    ) -> None:
        super().__init__(shape, weight=weight)
        for name, value in (("off_diagonal", off_diagonal), ("diagonal", diagonal)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
        self.off_diagonal, self.diagonal, self.means_only = off_diagonal, diagonal, means_only

    def forward(
        self,
        z: Tensor,  # noqa: ARG002
        q: Distribution,
        p: Distribution,  # noqa: ARG002
        c: Tensor | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, dict[str, Tensor]]:
        sigma = self._covariance(q)
        own = sigma.diagonal()
        off = sigma.square().sum() - own.square().sum()
        return self.off_diagonal * off + self.diagonal * (own - 1).square().sum(), {}

    def check(self, q: Distribution, p: Distribution) -> None:  # noqa: ARG002
        self._covariance(q)

    def _covariance(self, q: Distribution) -> Tensor:
        if not (isinstance(q, CholeskyNormal) or (type(q) is Independent and not q.base_dist.event_shape)):
            wanted = "a posterior with independent dimensions, such as DiagonalNormal, or FullNormal"
            raise ValueError(f"Covariance needs {wanted}, got {type(q).__name__}.")
        means = q.mean.flatten(1)
        centred = means - means.mean(0)
        with torch.autocast(means.device.type, enabled=False):
            sigma = centred.T @ centred / len(means)
        if self.means_only:
            return sigma
        within = q.covariance if isinstance(q, CholeskyNormal) else torch.diag_embed(q.variance.flatten(1))
        return sigma + within.mean(0)
