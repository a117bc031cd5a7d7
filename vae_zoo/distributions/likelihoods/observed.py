"""Likelihoods of examples with missing values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vae_zoo.typing import Shape


class Observed(Independent):
    r"""Independent values of which NaN ones are missing: they have no term in the log-density.

    .. math:: \log p(x_{obs}|z) = \sum_{i: x_i \text{ observed}} \log p(x_i|z)

    This is the exact density of the observed values, because the others integrate to 1. Mean, variance and samples are
    those of all values.

    References:
        | Handling Incomplete Heterogeneous Data using VAEs (Nazábal et al., 2020)
        | https://arxiv.org/abs/1807.03653

    Args:
        d: Distribution of complete events, for which :func:`per_entry` holds.
        filler: Values in the support of the entries, to take the place of missing ones.
    """

    def __init__(self, d: Independent, filler: Tensor) -> None:
        super().__init__(d.base_dist, d.reinterpreted_batch_ndims, validate_args=False)
        self.complete, self.filler = d, filler

    def log_prob(self, value: Tensor) -> Tensor:
        return self.log_prob_per_entry(value).flatten(-self.reinterpreted_batch_ndims).sum(-1)

    def log_prob_per_entry(self, value: Tensor, missing: Tensor | None = None) -> Tensor:
        """Log-density of each entry, 0 for missing ones, of the shape of a batch of events."""
        missing = value.isnan()
        filled = torch.where(missing, self.filler, value)
        return torch.where(missing, 0.0, log_prob_per_entry(self.complete, filled, missing))

    @property
    def mean(self) -> Tensor:
        return self.complete.mean

    @property
    def variance(self) -> Tensor:
        return self.complete.variance

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.complete.sample(torch.Size(sample_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.complete.rsample(torch.Size(sample_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Observed:
        return Observed(self.complete.expand(batch_shape), self.filler)


def per_entry(d: Distribution, shape: Shape) -> bool:
    """Whether the log-density of events of a shape is known to be a sum over their entries."""
    if not isinstance(d, Independent) or d.base_dist.event_shape or d.reinterpreted_batch_ndims != len(shape):
        return False
    return type(d) is Independent or hasattr(d, "log_prob_per_entry")


def log_prob_per_entry(d: Independent, value: Tensor, missing: Tensor | None = None) -> Tensor:
    """Log-density of each entry of events.

    Args:
        d: Distribution for which :func:`per_entry` holds.
        value: Events, (\\*batch, \\*shape), without missing values.
        missing: Which of them take the place of a missing value, for a distribution that learns from the rest.
    """
    if hasattr(d, "log_prob_per_entry"):
        return d.log_prob_per_entry(value, missing)
    return d.base_dist.log_prob(value)


def fill_missing(x: Tensor) -> Tensor:
    """Examples with missing values replaced by the mean of the observed ones at the same place, 0 if there are none.

    Args:
        x: Examples, (N, \\*shape), in which NaN is missing.
    """
    means = x.nanmean(0).nan_to_num(0.0)
    return torch.where(x.isnan(), means, x)
