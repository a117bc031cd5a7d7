"""Elementary distributions that torch.distributions lacks, or states less exactly than a bound needs."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints


class Normal(torch.distributions.Normal):
    """Normal distribution that keeps log σ, so that densities and divergences never take the log of an exp.

    Args:
        loc: Mean.
        log_scale: Logarithm of the standard deviation, the shape of loc or one that broadcasts.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.log_scale = log_scale.expand_as(loc)
        super().__init__(loc, log_scale.exp(), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        standardised = (value - self.loc) * torch.exp(-self.log_scale)
        return -0.5 * standardised.square() - self.log_scale - 0.5 * math.log(2 * math.pi)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Normal:
        return Normal(self.loc.expand(batch_shape), self.log_scale.expand(batch_shape))


class PointMass(Distribution):
    """All mass on one point: what the encoder of a plain autoencoder says of the latent. It has no density."""

    has_rsample = True
    support = constraints.real
    arg_constraints = {"loc": constraints.real}

    def __init__(self, loc: Tensor) -> None:
        self.loc = loc
        super().__init__(loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.loc.expand(self._extended_shape(torch.Size(sample_shape)))


def independent(base: Distribution, event_dims: int) -> Independent:
    """Let the last dimensions of a batch of distributions be one event."""
    return Independent(base, event_dims, validate_args=False)


def is_normal(d: Distribution) -> bool:
    """Whether a distribution is a normal one of this module with independent dimensions."""
    return isinstance(d, Independent) and isinstance(d.base_dist, Normal)
