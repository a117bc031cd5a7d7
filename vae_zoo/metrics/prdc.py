"""Precision, recall, density and coverage of samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from vae_zoo.metrics.checks import check_counts

_CHUNK_ELEMENTS = 2**23


class PRDC(Metric):
    r"""Precision, recall, density and coverage, from the nearest neighbours of samples and data.

    Precision is the fraction of samples that lie in a ball of the data, recall the fraction of the data in a ball of
    the samples, where a ball extends to the k-th nearest neighbour in its own set. Density is the mean number of balls
    of the data that contain a sample, divided by k; coverage is the fraction of the data with a sample in its ball.
    All but density, which may exceed 1, are from 0 to 1. They depend on the extractor and on both numbers of examples.

    References:
        | Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al., 2019)
        | https://arxiv.org/abs/1904.06991
        | Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020)
        | https://arxiv.org/abs/2002.09797

    Args:
        nearest: Number k of the neighbour that defines the radius of a ball.
        extractor: Module from images (B, \*shape) to features (B, D); None where features are given.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If nearest is less than 1; when computing, if a set has no more than that many examples.
    """

    full_state_update = False
    real: list[Tensor]
    fake: list[Tensor]

    def __init__(self, *, nearest: int = 5, extractor: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(nearest=nearest)
        self.nearest, self.extractor = nearest, extractor or nn.Identity()
        self.add_state("real", default=[], dist_reduce_fx="cat")
        self.add_state("fake", default=[], dist_reduce_fx="cat")

    def update(self, x: Tensor, real: bool) -> None:
        """Add images or features, of data (real) or of samples."""
        (self.real if real else self.fake).append(self.extractor(x).detach().flatten(1).float())

    def compute(self) -> dict[str, Tensor]:
        """The four metrics by name."""
        real, fake = dim_zero_cat(self.real), dim_zero_cat(self.fake)
        if min(len(real), len(fake)) <= self.nearest:
            raise ValueError(f"PRDC needs more than {self.nearest} examples and samples, got {len(real)}, {len(fake)}.")
        center = real.double().mean(0)  # distances are more exact near the origin
        return prdc(real.double() - center, fake.double() - center, self.nearest)


def prdc(real: Tensor, fake: Tensor, nearest: int) -> dict[str, Tensor]:
    """Precision, recall, density and coverage of features.

    Args:
        real: Features of data, (N, D).
        fake: Features of samples, (M, D).
        nearest: Number of the neighbour that defines the radius of a ball.

    Returns:
        Scalars by name.
    """
    real_radius, fake_radius = radii(real, nearest), radii(fake, nearest)
    balls, recalled, covered = real.new_zeros(len(fake)), [], []
    for rows in torch.arange(len(real), device=real.device).split(max(1, _CHUNK_ELEMENTS // len(fake))):
        distance = torch.cdist(real[rows], fake)
        inside = distance < real_radius[rows, None]
        balls += inside.sum(0)
        covered.append(inside.any(1))
        recalled.append((distance < fake_radius).any(1))
    return {
        "precision": (balls > 0).float().mean(),
        "recall": torch.cat(recalled).float().mean(),
        "density": (balls.mean() / nearest).float(),
        "coverage": torch.cat(covered).float().mean(),
    }


def radii(x: Tensor, nearest: int) -> Tensor:
    """Distance of each row of (N, D) to its k-th nearest other row, (N,)."""
    chunk = max(1, _CHUNK_ELEMENTS // len(x))
    return torch.cat([torch.cdist(part, x).kthvalue(nearest + 1, dim=1).values for part in x.split(chunk)])
