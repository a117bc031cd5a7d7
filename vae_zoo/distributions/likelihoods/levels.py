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


class CoupledLogisticLevels(Distribution):
    r"""Mixture of discretised logistic densities of each pixel, whose later channels depend on the earlier ones.

    .. math:: p(x) = \prod_i \sum_k \pi_{ik} \prod_c p_{ikc}(x_{ic} | x_{i,<c}), \quad
        \mu_{ikc}(x_{i,<c}) = m_{ikc} + \sum_{d<c} a_{ikcd} \, (x_{id} - \tfrac{1}{2})

    One component is chosen for all channels of a pixel. ``mean`` and ``variance`` are exact for the first channel, and
    to first order in the earlier ones for the others.

    Args:
        logits: Logits of the weights, (\*batch, K, \*sides).
        loc: Locations m, (\*batch, K, C, \*sides).
        log_scale: Logarithms of the scales, of the same shape.
        coupling: Coefficients a, (\*batch, K, C (C - 1) / 2, \*sides), by rows: of the second channel, the third, …
        num_values: Number n of levels.
        num_sides: Number of sides of an event besides its channels.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(
        self, logits: Tensor, loc: Tensor, log_scale: Tensor, coupling: Tensor, num_values: int, num_sides: int
    ) -> None:
        channel = -1 - num_sides
        self.log_weights = torch.log_softmax(logits, channel)
        self.loc, self.log_scale = loc.unbind(channel), log_scale.unbind(channel)  # each (*batch, K, *sides)
        self.coupling = coupling.unbind(channel)
        self.num_values, self.num_sides = num_values, num_sides
        batch, sides = loc.shape[: loc.ndim - num_sides - 2], loc.shape[loc.ndim - num_sides :]
        super().__init__(batch, torch.Size([len(self.loc), *sides]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.unit_interval, 1 + self.num_sides)

    def _channel(self, c: int, before: list[Tensor]) -> LogisticLevels:
        """Components of a channel given the values of the channels before it, batch shape (\\*batch, K, \\*sides)."""
        loc, start = self.loc[c], c * (c - 1) // 2
        for d, x in enumerate(before):
            loc = loc + self.coupling[start + d] * (x - 0.5)
        return LogisticLevels(loc, self.log_scale[c], self.num_values, True)

    def log_prob(self, value: Tensor) -> Tensor:
        channel, dtype = -1 - self.num_sides, self.log_weights.dtype
        x = to_level(value, self.num_values, dtype) / (self.num_values - 1)
        parts, total = x.unsqueeze(channel - 1).unbind(channel), self.log_weights
        for c, part in enumerate(parts):  # (*batch, 1, *sides), beside the components
            total = total + self._channel(c, list(parts[:c])).log_prob(part)
        found = torch.logsumexp(total, channel)
        return found.flatten(-self.num_sides).sum(-1) if self.num_sides else found

    def sample(self, sample_shape: Any = ()) -> Tensor:
        channel = -1 - self.num_sides
        with torch.no_grad():
            shape = torch.Size(sample_shape) + self.log_weights.shape
            noise = -torch.log(-torch.log(torch.rand(shape, dtype=self.loc[0].dtype, device=self.loc[0].device)))
            chosen = (self.log_weights + noise).argmax(channel, keepdim=True)
            drawn: list[Tensor] = []
            for c in range(len(self.loc)):
                part = self._channel(c, drawn)
                loc, log_scale = (
                    t.expand(shape).gather(channel, chosen) for t in torch.broadcast_tensors(part.loc, part.log_scale)
                )
                drawn.append(LogisticLevels(loc, log_scale, self.num_values, True).sample())
            return torch.cat(drawn, channel)

    @property
    def mean(self) -> Tensor:
        return self._moments()[0]

    @property
    def variance(self) -> Tensor:
        return self._moments()[1]

    def _moments(self) -> tuple[Tensor, Tensor]:
        channel, weights = -1 - self.num_sides, self.log_weights.exp()
        means, variances, found = list[Tensor](), list[Tensor](), list[tuple[Tensor, Tensor]]()
        for c in range(len(self.loc)):
            part, start = self._channel(c, means), c * (c - 1) // 2
            precision = torch.exp(-part.log_scale)
            slope = torch.sigmoid((1 - part.loc) * precision) - torch.sigmoid(-part.loc * precision)
            passed = [self.coupling[start + d].square() * variances[d] for d in range(c)]
            mean, square = part._moments()
            variance = (square - mean.square()).clamp(min=0) + slope.square() * sum(passed)
            means.append(mean)
            variances.append(variance)
            whole = (weights * mean).sum(channel)
            spread = (weights * (variance + (mean - whole.unsqueeze(channel)).square())).sum(channel)
            found.append((whole, spread))
        return torch.stack([m for m, _ in found], channel), torch.stack([v for _, v in found], channel)
