"""Distributions of vectors of counts, whose mean is a rate times a total, such as the library size of a cell."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import softplus

from vae_zoo.functional import log_add_exp, log_negative_binomial, log_poisson, stirling_error

_LEAST = 1e-30
"""Total of an example without any count, in place of 0."""

_HALF_LOG_2PI = 0.9189385332046727


class Total(NamedTuple):
    """Log-normal distribution of totals: of one total if the spread is 0.

    Args:
        location: Mean of their logarithms, a shape that broadcasts with batch and event.
        spread: Standard deviation of their logarithms.
        seen: Whether a log-probability takes the total of the counts that it scores.
    """

    location: Tensor
    spread: Tensor
    seen: bool = False

    def moment(self, power: int) -> Tensor:
        """Mean of a power of the totals."""
        return torch.exp(power * self.location + 0.5 * (power * self.spread).square())


class Tally(Distribution):
    r"""Base of distributions of counts with the mean ℓ r, of rates r and one total ℓ for each event.

    ``log_prob`` takes ℓ to be the total of the counts that it scores if the total is one that is seen. Mean, variance
    and samples are those under the distribution of totals.

    Args:
        log_rate: Logarithms of the rates, (\*batch, \*event).
        event_dims: Number of dimensions of an event.
        total: The totals.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, log_rate: Tensor, event_dims: int, total: Total) -> None:
        self.log_rate, self.event_dims, self.total = log_rate, event_dims, total
        split = log_rate.ndim - event_dims
        super().__init__(log_rate.shape[:split], log_rate.shape[split:], validate_args=False)

    @constraints.dependent_property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.nonnegative_integer, self.event_dims)

    def observing(self, x: Tensor) -> Tally:
        """The same distributions at the totals of examples (\\*batch, \\*event), if those are seen."""
        if not self.total.seen:
            return self
        found = copy.copy(self)
        log_total = self._log_total(x.to(self.log_rate.dtype))
        found.total = Total(log_total, torch.zeros_like(log_total))
        return found

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.to(self.log_rate.dtype)
        location = self._log_total(value) if self.total.seen else self.total.location
        terms = self._of_entries(value, self.log_rate + location)
        return terms.flatten(-self.event_dims).sum(-1) if self.event_dims else terms

    @property
    def mean(self) -> Tensor:
        return self.total.moment(1) * self._parts()[0]

    @property
    def variance(self) -> Tensor:
        mean, linear, square = self._parts()
        first, second = self.total.moment(1), self.total.moment(2)
        return first * linear + second * square + (second - first.square()) * mean.square()

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        log_rate = self.log_rate.expand(*sample_shape, *self.log_rate.shape)
        shape = log_rate.shape[: log_rate.ndim - self.event_dims]
        noise = log_rate.new_empty(*shape, *[1] * self.event_dims).normal_()
        return self._draw(log_rate, self.total.location + self.total.spread * noise)

    def _log_total(self, value: Tensor) -> Tensor:
        dims = tuple(range(-self.event_dims, 0))
        return value.sum(dims, keepdim=True).clamp(min=_LEAST).log()

    @abstractmethod
    def _of_entries(self, value: Tensor, log_mean: Tensor) -> Tensor:
        """Log-probabilities whose sum over the event is that of the event."""

    @abstractmethod
    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """The mean at a total of 1, and the parts of the variance that grow with the total and with its square."""

    @abstractmethod
    def _draw(self, log_rate: Tensor, log_total: Tensor) -> Tensor:
        """Counts of these rates and totals."""


class PoissonTally(Tally):
    """Independent Poisson counts."""

    def _of_entries(self, value: Tensor, log_mean: Tensor) -> Tensor:
        return log_poisson(value, log_mean)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        rate = self.log_rate.exp()
        return rate, rate, torch.zeros_like(rate)

    def _draw(self, log_rate: Tensor, log_total: Tensor) -> Tensor:
        return torch.poisson((log_rate + log_total).exp())


class NegativeBinomialTally(Tally):
    r"""Independent negative binomial counts, with the variance μ + μ²/θ.

    Args:
        log_dispersion: Logarithms of the inverse dispersions θ, a shape that broadcasts with batch and event.
        args: Arguments of :class:`Tally`.
    """

    def __init__(self, log_dispersion: Tensor, *args: Any) -> None:
        super().__init__(*args)
        self.log_dispersion = log_dispersion

    def _of_entries(self, value: Tensor, log_mean: Tensor) -> Tensor:
        return log_negative_binomial(value, log_mean, self.log_dispersion)

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        rate = self.log_rate.exp()
        return rate, rate, torch.exp(2 * self.log_rate - self.log_dispersion)

    def _draw(self, log_rate: Tensor, log_total: Tensor) -> Tensor:
        dispersion = self.log_dispersion.exp().expand_as(log_rate)
        gamma = torch.distributions.Gamma(dispersion, torch.ones_like(dispersion), validate_args=False).sample()
        return torch.poisson(gamma * (log_rate + log_total - self.log_dispersion).exp())


class ZeroInflatedTally(NegativeBinomialTally):
    r"""Independent negative binomial counts, each replaced by 0 with a probability π.

    Args:
        logits: Logits of π, (\*batch, \*event).
        args: Arguments of :class:`NegativeBinomialTally`.
    """

    def __init__(self, logits: Tensor, *args: Any) -> None:
        super().__init__(*args)
        self.logits = logits

    def _of_entries(self, value: Tensor, log_mean: Tensor) -> Tensor:
        counted = super()._of_entries(value, log_mean) - softplus(self.logits)
        return torch.where(value > 0, counted, log_add_exp(-softplus(-self.logits), counted))

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        mean, linear, square = super()._parts()
        kept = torch.sigmoid(-self.logits)
        return kept * mean, kept * linear, kept * (square + torch.sigmoid(self.logits) * mean.square())

    def _draw(self, log_rate: Tensor, log_total: Tensor) -> Tensor:
        kept = torch.rand_like(log_rate) < torch.sigmoid(-self.logits)
        return super()._draw(log_rate, log_total) * kept


class MultinomialTally(Tally):
    """Counts that add up to the total, in these shares on average."""

    def _of_entries(self, value: Tensor, log_mean: Tensor) -> Tensor:
        dims = tuple(range(-self.event_dims, 0))
        total = value.sum(dims, keepdim=True)
        count = torch.where(total > 0, total, 1.0)
        at_mode = torch.where(total > 0, stirling_error(count) + 0.5 * count.log() + _HALF_LOG_2PI, 0.0)
        return log_poisson(value, log_mean) + at_mode / self.event_shape.numel()

    def _parts(self) -> tuple[Tensor, Tensor, Tensor]:
        share = self.log_rate.exp()
        return share, share * (1 - share), torch.zeros_like(share)

    def _draw(self, log_rate: Tensor, log_total: Tensor) -> Tensor:
        left = log_total.exp().round().flatten(-self.event_dims)  # (..., 1): counts still to be divided
        share = log_rate.exp().flatten(-self.event_dims)
        size = 1 << (share.shape[-1] - 1).bit_length()
        levels = [torch.nn.functional.pad(share, (0, size - share.shape[-1]))]
        while levels[-1].shape[-1] > 1:
            levels.append(levels[-1].unflatten(-1, (-1, 2)).sum(-1))
        for level in reversed(levels[:-1]):  # each part is divided in two, by a binomial draw
            pairs = level.unflatten(-1, (-1, 2))
            first = torch.binomial(left.contiguous(), (pairs[..., 0] / pairs.sum(-1).clamp(min=_LEAST)).clamp(max=1.0))
            left = torch.stack([first, left - first], -1).flatten(-2)
        return left[..., : share.shape[-1]].unflatten(-1, self.event_shape)
