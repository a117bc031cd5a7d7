"""The sliced Wasserstein distance between the aggregate posterior and the prior."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import normalize

from vae_zoo.penalties.base import Penalty, draws_like
from vae_zoo.typing import Shape


class SlicedWasserstein(Penalty):
    r"""Sliced Wasserstein distance of the batch's latents and as many draws from the prior, to the power of p.

    .. math:: \mathrm{SW}_p^p = \frac{1}{L} \sum_{l=1}^L \frac{1}{n} \sum_{i=1}^n
        \big| \mathrm{sort}(\theta_l^\top z)_i - \mathrm{sort}(\theta_l^\top y)_i \big|^p

    The directions θ are uniform on the sphere. With few examples, the distance between two samples of the same
    distribution is above 0. Each process compares its own examples.

    References:
        | Sliced Wasserstein Auto-Encoders (Kolouri et al., 2019)
        | https://arxiv.org/abs/1804.01947

    Args:
        shape: Shape of one latent; supplied by the model.
        weight: Weight of the penalty.
        num_projections: Number L of directions.
        power: Power p.

    Raises:
        ValueError: If weight is negative, num_projections is less than 1, or power is less than 1 or not finite.
    """

    units = {"sliced_wasserstein": "distance to the power p"}
    min_batch_size = 2

    def __init__(self, shape: Shape, *, weight: float = 1.0, num_projections: int = 50, power: float = 2.0) -> None:
        super().__init__(shape, weight=weight)
        if num_projections < 1 or not 1 <= power < math.inf:
            raise ValueError(
                f"num_projections and power must be at least 1 and finite, got {num_projections} and {power}."
            )
        self.num_projections, self.power = num_projections, power

    def forward(
        self,
        z: Tensor,
        q: Distribution,  # noqa: ARG002
        p: Distribution,
        c: Tensor | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, dict[str, Tensor]]:
        z, y = z.flatten(1), draws_like(z, p).flatten(1)
        with torch.autocast(z.device.type, enabled=False):
            directions = normalize(torch.randn(z.shape[1], self.num_projections, dtype=z.dtype, device=z.device), dim=0)
            gaps = (z @ directions).sort(0).values - (y @ directions).sort(0).values
        return gaps.abs().pow(self.power).mean(), {}
