"""Distributions of continuous values that torch.distributions lacks, or computes less accurately."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.functional import stirling_error

_SMALL = 1.0
"""Logits below which the continuous Bernoulli distribution is computed by Taylor series."""

_LOG_SINHC = (1 / 6, -1 / 180, 1 / 2835, -1 / 37800, 1 / 467775, -691 / 3831077250)
"""log(sinh h / h) = Σ c_n h^(2n), n = 1, 2, …"""


def _even(h: Tensor, *, derivative: int) -> Tensor:
    """A derivative of log(sinh h / h) from its series, for \\|h\\| up to ½."""
    square, total = h.square(), torch.zeros_like(h)
    for n in range(len(_LOG_SINHC), 0, -1):
        power = 2 * n
        factor = math.prod(range(power, power - derivative, -1))
        total = total * square + factor * _LOG_SINHC[n - 1]
    return total * (square, h, torch.ones_like(h))[derivative]


class ContinuousBernoulli(Distribution):
    r"""Density on [0, 1] proportional to :math:`e^{l x}`, accurate in float32 for logits near 0 and far from it.

    Args:
        logits: Logits l.
    """

    arg_constraints = {"logits": constraints.real}
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        self._small = logits.abs() < _SMALL
        self._half = torch.where(self._small, logits, 0.0) / 2
        self._size = torch.where(self._small, _SMALL, logits.abs())  # where the closed forms are used, |l|
        super().__init__(logits.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.to(self.logits.dtype)
        series = 2 * (value - 0.5) * self._half - _even(self._half, derivative=0)
        below = torch.where(self.logits > 0, 1 - value, value)  # distance from the end where the density peaks
        closed = self._size.log() - torch.log(-torch.expm1(-self._size)) - self._size * below
        return torch.where(self._small, series, closed)

    @property
    def mean(self) -> Tensor:
        peak = -1 / torch.expm1(-self._size) - 1 / self._size
        closed = torch.where(self.logits > 0, peak, 1 - peak)
        return torch.where(self._small, 0.5 + 0.5 * _even(self._half, derivative=1), closed)

    @property
    def variance(self) -> Tensor:
        decay = torch.exp(-self._size)
        closed = self._size.square().reciprocal() - decay / torch.expm1(-self._size).square()
        return torch.where(self._small, 0.25 * _even(self._half, derivative=2), closed)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        u = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        size = self.logits.abs()
        tiny = size < 1e-3  # the inverse of the distribution function to second order in |l|
        divisor = torch.where(tiny, 1.0, size)
        from_peak = torch.where(
            tiny, u * (1 - 0.5 * size * (1 - u)), -torch.log1p(u * torch.expm1(-divisor)) / divisor
        ).clamp(0, 1)
        return torch.where(self.logits > 0, 1 - from_peak, from_peak)


class HyperbolicSecant(Distribution):
    r"""Density :math:`\mathrm{sech}(u) / \pi s` with :math:`u = (x - \mu) / s`, of the log-cosh error.

    Args:
        loc: Mean μ.
        log_scale: Logarithm of s, the shape of loc or one that broadcasts.
    """

    arg_constraints = {"loc": constraints.real, "log_scale": constraints.real}
    support = constraints.real
    has_rsample = True

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.loc, self.log_scale = loc, log_scale.expand_as(loc)
        super().__init__(loc.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        size = ((value - self.loc) * torch.exp(-self.log_scale)).abs()
        return math.log(2 / math.pi) - self.log_scale - size - torch.log1p(torch.exp(-2 * size))

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return (math.pi / 2) ** 2 * torch.exp(2 * self.log_scale)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device)
        tiny = torch.finfo(u.dtype).eps
        return self.loc + self.log_scale.exp() * torch.log(torch.tan(0.5 * math.pi * u.clamp(tiny, 1 - tiny)))


class StudentT(torch.distributions.StudentT):
    r"""Student's t-distribution with densities that are accurate in float32 for any degrees of freedom ν.

    .. math:: \log \frac{\Gamma(a + \frac{1}{2})}{\Gamma(a)} = \tfrac{1}{2} \log a
        + a \log \Big( 1 + \frac{1}{2 a} \Big) - \tfrac{1}{2} + S(a + \tfrac{1}{2}) - S(a), \quad a = \frac{\nu}{2}

    S is :func:`~vae_zoo.functional.stirling_error`. The logarithms of the two gamma functions are of the size of
    ν log ν, and cancel.
    """

    def log_prob(self, value: Tensor) -> Tensor:
        half = 0.5 * self.df
        excess = half * torch.log1p(0.5 / half) - 0.5 + stirling_error(half + 0.5) - stirling_error(half)
        tail = (half + 0.5) * torch.log1p(((value - self.loc) / self.scale).square() / self.df)
        return excess - tail - self.scale.log() - 0.5 * math.log(2 * math.pi)
