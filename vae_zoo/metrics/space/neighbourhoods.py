"""Neighbourhoods of examples and of their latents."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from vae_zoo.metrics.checks import check_counts


class Continuity(Metric):
    r"""How near latents of neighbouring examples are: whether neighbourhoods of the data stay together.

    .. math:: 1 - \frac{2}{N k (2N - 3k - 1)} \sum_i \sum_{j \in U_i} (r_{ij} - k)

    :math:`U_i` are those of the k nearest examples of i whose latents are not among the k nearest of i's latent, and
    :math:`r_{ij}` is the rank of j by the distance of latents. 1 if neighbourhoods are kept, about 1/2 for latents at
    random. The trustworthiness of latents is the same with the roles exchanged. Memory grows with N².

    References:
        | Local multidimensional scaling (Venna and Kaski, 2006)
        | https://doi.org/10.1016/j.neunet.2006.05.014

    Args:
        neighbours: Number k of neighbours.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If neighbours is less than 1; in compute, if it is not below half the number of examples.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    x: list[Tensor]
    z: list[Tensor]

    def __init__(self, *, neighbours: int = 10, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(neighbours=neighbours)
        self.neighbours = neighbours
        self.add_state("x", default=[], dist_reduce_fx="cat")
        self.add_state("z", default=[], dist_reduce_fx="cat")

    def update(self, x: Tensor, z: Tensor) -> None:
        """Add examples (B, \\*shape) and their latents (B, \\*latent)."""
        self.x.append(x.detach().flatten(1).float())
        self.z.append(z.detach().flatten(1).float())

    def compute(self) -> Tensor:
        """The continuity, up to 1."""
        x, z = dim_zero_cat(self.x), dim_zero_cat(self.z)
        num, k = len(x), self.neighbours
        if 2 * k >= num:
            raise ValueError(f"neighbours must be below half the {num} examples, got {k}.")
        nearest = _order(x)[:, :k]
        order = _order(z)
        ranks = torch.empty_like(order).scatter_(1, order, torch.arange(1, num + 1, device=x.device).expand(num, -1))
        beyond = (ranks.gather(1, nearest) - k).clamp_min(0).sum()
        return (1 - 2 * beyond.double() / (num * k * (2 * num - 3 * k - 1))).float()


def _order(points: Tensor) -> Tensor:
    """Numbers of all points by their distance from each, (N, N), the point itself last."""
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.fill_diagonal_(torch.inf).argsort(dim=1, stable=True)
