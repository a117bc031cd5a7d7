"""Distributions over the levels 0, 1/(n-1), …, 1 of n values, as in 8-bit images."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.nn.functional import logsigmoid


def to_level(value: Tensor, num_values: int, dtype: torch.dtype) -> Tensor:
    """Index 0 … n-1 of the nearest level, as floating point, which undoes rounding of the data."""
    return (value.to(dtype) * (num_values - 1)).round()


class LogisticLevels(Distribution):
    r"""Mass of a logistic density in the bin around each level.

    With edges :math:`a < b` in units of the scale, :math:`\sigma(b) - \sigma(a) = \sigma(b)\,\sigma(-a)\,(1 - e^{a-b})`
    is a product, whose logarithm neither cancels nor underflows at any scale.

    Args:
        loc: Location of the logistic density, on the axis of the data.
        log_scale: Logarithm of its scale, the shape of loc or one that broadcasts.
        num_values: Number n of levels.
        edges: Whether the outer bins extend to infinity.
    """

    arg_constraints = {"loc": constraints.real, "log_scale": constraints.real}
    support = constraints.unit_interval

    def __init__(self, loc: Tensor, log_scale: Tensor, num_values: int, edges: bool) -> None:
        self.loc, self.log_scale = loc, log_scale.expand_as(loc)
        self.num_values, self.edges = num_values, edges
        super().__init__(loc.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        level, top = to_level(value, self.num_values, self.loc.dtype), self.num_values - 1
        precision = torch.exp(-self.log_scale)
        centre, half = (level / top - self.loc) * precision, 0.5 / top * precision
        upper, lower = logsigmoid(half + centre), logsigmoid(half - centre)
        width = torch.log(-torch.expm1(-2 * half)).expand_as(centre)
        if self.edges:
            upper = torch.where(level >= top, 0.0, upper)
            lower = torch.where(level <= 0, 0.0, lower)
            width = torch.where((level >= top) | (level <= 0), 0.0, width)
        return upper + lower + width

    @property
    def mean(self) -> Tensor:
        return self._moments()[0]

    @property
    def variance(self) -> Tensor:
        mean, square = self._moments()
        return (square - mean.square()).clamp(min=0)

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and mean square, from the probabilities of each level or above."""
        top, precision = self.num_values - 1, torch.exp(-self.log_scale)
        mean, square = torch.zeros_like(self.loc), torch.zeros_like(self.loc)
        for level in range(1, self.num_values):
            above = torch.sigmoid((self.loc - (level - 0.5) / top) * precision)
            mean, square = mean + above, square + (2 * level - 1) * above
        return mean / top, square / top**2

    def sample(self, sample_shape: Any = ()) -> Tensor:
        shape, top = self._extended_shape(torch.Size(sample_shape)), self.num_values - 1
        with torch.no_grad():
            eps = torch.finfo(self.loc.dtype).eps
            u = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).clamp(eps, 1 - eps)
            x = self.loc + self.log_scale.exp() * torch.logit(u)
            return (x * top).round().clamp(0, top) / top


class CategoricalLevels(torch.distributions.Categorical):
    """A free probability for each level, with logits in the last dimension: (\\*batch, n)."""

    def _level(self) -> Tensor:
        return torch.linspace(0, 1, self.logits.shape[-1], dtype=self.logits.dtype, device=self.logits.device)

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(to_level(value, self.logits.shape[-1], self.logits.dtype))

    @property
    def mean(self) -> Tensor:
        return (self.probs * self._level()).sum(-1)

    @property
    def variance(self) -> Tensor:
        return (self.probs * (self._level() - self.mean.unsqueeze(-1)).square()).sum(-1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return super().sample(torch.Size(sample_shape)).to(self.logits.dtype) / (self.logits.shape[-1] - 1)
