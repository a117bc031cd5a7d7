"""Elementary distributions that torch.distributions lacks, or computes less accurately than a bound needs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, constraints

from vae_zoo.functional import log_normal


class Normal(torch.distributions.Normal):
    """Normal distribution parametrised by log σ, so that densities and divergences need no log of an exp.

    Args:
        loc: Mean.
        log_scale: Logarithm of the standard deviation, the shape of loc or one that broadcasts.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.log_scale = log_scale.expand_as(loc)
        super().__init__(loc, log_scale.exp(), validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        return log_normal(value, self.loc, self.log_scale)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Normal:
        return Normal(self.loc.expand(batch_shape), self.log_scale.expand(batch_shape))


class PointMass(Distribution):
    """All mass on one point: the latent of a plain autoencoder. It has no density."""

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
    """Make the last dimensions of a batch of distributions one event."""
    return Independent(base, event_dims, validate_args=False)


def is_normal(d: Distribution) -> bool:
    """Whether a distribution is a normal distribution of this module with independent dimensions.

    Types are compared exactly: a subclass may have another density.
    """
    return type(d) is Independent and type(d.base_dist) is Normal


def factorises(d: Distribution) -> bool:
    """Whether the dimensions of the events of a distribution are known to be independent.

    This is the case for ``torch.distributions.Independent``, whose log-density is the sum over the dimensions.
    """
    return type(d) is Independent and d.reinterpreted_batch_ndims == 1 and not d.base_dist.event_shape


def log_prob_per_dim(d: Distribution, value: Tensor) -> Tensor:
    """Log-density of each dimension of vector events, by the distribution's own formula.

    Args:
        d: Distribution of independent dimensions, batch shape (\\*batch) and event shape (D,).
        value: Values, of a shape that broadcasts with (\\*batch, D).

    Returns:
        Nats, the broadcast shape.

    Raises:
        ValueError: If the dimensions are not independent: see :func:`factorises`.
    """
    if not factorises(d):
        raise ValueError(f"the dimensions must be independent, as torch's Independent states, got {type(d).__name__}.")
    return d.base_dist.log_prob(value)  # type: ignore[attr-defined]
