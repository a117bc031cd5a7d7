"""Base class of metrics of latents against known factors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from vae_zoo.metrics.information import canonical_order


class FactorMetric(Metric, ABC):
    """A score of latents with known generating factors, computed over the whole set.

    Rows are put into a canonical order before anything is drawn from them, so the score depends neither on the
    batches nor on the distribution over processes. Factors with a single value in the set are left out.

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    min_factors = 1
    mean: list[Tensor]
    factors: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("mean", default=[], dist_reduce_fx="cat")
        self.add_state("factors", default=[], dist_reduce_fx="cat")

    def update(self, mean: Tensor, factors: Tensor) -> None:
        """Add posterior means, (B, \\*latent), and the indices of their factors, (B, F).

        Raises:
            ValueError: If the two do not match.
        """
        if factors.ndim != 2 or factors.is_floating_point() or len(mean) != len(factors):
            came = f"{factors.dtype} {tuple(factors.shape)} for {len(mean)} latents"
            raise ValueError(f"factors must be integers, one row for each latent and one column a factor, got {came}.")
        self.mean.append(mean.detach().flatten(1).float())
        self.factors.append(factors)

    @abstractmethod
    def score(self, z: Tensor, v: Tensor) -> Any:
        """The score of latents (N, D) with factors (N, F), the values of each numbered from 0 without gaps."""

    def compute(self) -> Any:
        """The score of all examples added."""
        z, v = dim_zero_cat(self.mean), dim_zero_cat(self.factors)
        order = canonical_order(v, z)
        v = torch.stack([column.unique(return_inverse=True)[1] for column in v[order].unbind(1)], 1)
        v = v[:, v.amax(0) > 0]
        if v.shape[1] < self.min_factors or z.shape[1] < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least {self.min_factors} factors that vary and 2 latent dimensions, "
                f"got {v.shape[1]} and {z.shape[1]}."
            )
        return self.score(z[order], v)


def halves(num: int, test_fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Disjoint indices to train on and to test on, from a seeded shuffle."""
    num_test = round(num * test_fraction)
    if not 0 < num_test < num:
        raise ValueError(f"test_fraction {test_fraction} of {num} examples leaves none to train on or none to test.")
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    return order[num_test:], order[:num_test]


def check_fraction(test_fraction: float) -> float:
    """Return the value if it lies between 0 and 1."""
    if not 0 < test_fraction < 1:
        raise ValueError(f"test_fraction must lie between 0 and 1, got {test_fraction}.")
    return test_fraction
