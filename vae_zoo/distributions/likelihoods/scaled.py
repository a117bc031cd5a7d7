"""Scaling of the entries of vectors, and likelihoods in the original units."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent

from vae_zoo.distributions.likelihoods.observed import log_prob_per_entry
from vae_zoo.distributions.normal import Normal
from vae_zoo.system.tensors import exact_buffers

_KEYS = {"shift", "scale", "log", "log1p"}


class Scaling(nn.Module):
    r"""A map of each entry of a vector to other units, with its inverse and its derivative.

    .. math:: y_j = \frac{g_j(x_j) - m_j}{s_j}, \quad g_j \in \{x, \log x, \log(1 + x)\}, \quad
        \log \frac{\mathrm{d} y_j}{\mathrm{d} x_j} = \log g_j'(x_j) - \log s_j

    Its numbers are buffers, so that they are saved with a model.

    Args:
        dim: Number of entries.
        shift: Their shifts m; 0 if not given.
        scale: Their scales s; 1 if not given.
        log: Numbers of the entries with g = log.
        log1p: Numbers of the entries with g = log(1 + x).

    Raises:
        ValueError: If there are not as many numbers as entries, or a scale is not positive and finite.
    """

    shift: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(
        self,
        dim: int,
        *,
        shift: Sequence[float] = (),
        scale: Sequence[float] = (),
        log: Sequence[float] = (),
        log1p: Sequence[float] = (),
    ) -> None:
        super().__init__()
        for name, value in (("shift", shift), ("scale", scale)):
            if len(value) not in (0, dim):
                raise ValueError(f"{name} of the scaling must have {dim} numbers, as an example, got {len(value)}.")
        if not all(0 < float(s) < float("inf") for s in scale):
            raise ValueError("every scale must be positive and finite.")
        self.register_buffer("shift", torch.tensor(list(shift) or [0.0] * dim, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(list(scale) or [1.0] * dim, dtype=torch.float32))
        offset = torch.full((dim,), -1.0)  # of the logarithm's argument; -1 for entries without a logarithm
        for columns, start in ((log, 0.0), (log1p, 1.0)):
            offset[[int(column) for column in columns]] = start
        self.register_buffer("offset", offset)
        self.any_log = bool(log or log1p)

    def forward(self, x: Tensor) -> Tensor:
        """Values (..., D) in the units of the likelihood."""
        if self.any_log:
            x = torch.where((self.offset < 0), x, torch.log(self._argument(x)))
        return (x - self.shift) / self.scale

    def undo(self, y: Tensor) -> Tensor:
        """Values (..., D) in the original units."""
        x = self.shift + self.scale * y
        return torch.where((self.offset < 0), x, self._undo_log(x)) if self.any_log else x

    def log_slope(self, x: Tensor) -> Tensor:
        """Logarithm of the derivative at values in the original units, (..., D)."""
        slope = -self.scale.log().expand_as(x)
        return slope - torch.where((self.offset < 0), 0.0, torch.log(self._argument(x))) if self.any_log else slope

    def _argument(self, x: Tensor) -> Tensor:
        """x or 1 + x, and 1 for entries without a logarithm, whose gradient could otherwise be NaN."""
        return torch.where((self.offset < 0), 1.0, x + self.offset)

    def _undo_log(self, x: Tensor) -> Tensor:
        none = self.offset < 0
        return torch.where(none, 0.0, x).exp() - torch.where(none, 0.0, self.offset)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Scaling:
        with exact_buffers(self):
            super()._apply(fn, recurse)
        return self


class Scaled(Independent):
    r"""Independent values whose density is known after a scaling, in the original units.

    .. math:: \log p(x|z) = \log p_y(y(x) | z) + \sum_j \log \frac{\mathrm{d} y_j}{\mathrm{d} x_j}

    Args:
        d: Distribution of the scaled values, for which :func:`~.observed.per_entry` holds.
        scaling: The scaling.
    """

    def __init__(self, d: Independent, scaling: Scaling) -> None:
        super().__init__(d.base_dist, d.reinterpreted_batch_ndims, validate_args=False)
        self.complete, self.scaling = d, scaling

    def log_prob(self, value: Tensor) -> Tensor:
        value = value.to(self.scaling.shift.dtype)
        return self.complete.log_prob(self.scaling(value)) + self.scaling.log_slope(value).sum(-1)

    def log_prob_per_entry(self, value: Tensor, missing: Tensor | None = None) -> Tensor:
        """Log-density of each entry, of the shape of a batch of events."""
        value = value.to(self.scaling.shift.dtype)
        return log_prob_per_entry(self.complete, self.scaling(value), missing) + self.scaling.log_slope(value)

    @property
    def mean(self) -> Tensor:
        if not self.scaling.any_log:
            return self.scaling.undo(self.complete.mean)
        return self._moments()[0]

    @property
    def variance(self) -> Tensor:
        if not self.scaling.any_log:
            return self.scaling.scale.square() * self.complete.variance
        return self._moments()[1]

    def _moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance with log-normal entries.

        Raises:
            NotImplementedError: If entries with a logarithm are not normal.
        """
        normal = isinstance(self.base_dist, Normal) or getattr(self.base_dist, "real_entries_are_normal", False)
        if not normal:
            raise NotImplementedError("the mean of the exponential of values that are not normal")
        units, none = self.scaling, (self.scaling.offset < 0)
        loc = units.shift + units.scale * self.complete.mean
        spread = units.scale.square() * self.complete.variance
        log_loc, log_spread = torch.where(none, 0.0, loc), torch.where(none, 0.0, spread)
        mean = torch.exp(log_loc + 0.5 * log_spread)
        variance = torch.expm1(log_spread) * torch.exp(2 * log_loc + log_spread)
        return torch.where(none, loc, mean - units.offset), torch.where(none, spread, variance)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.scaling.undo(self.complete.sample(torch.Size(sample_shape)))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.scaling.undo(self.complete.rsample(torch.Size(sample_shape)))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Scaled:
        return Scaled(self.complete.expand(batch_shape), self.scaling)


def make_scaling(dim: int, given: Mapping[str, Sequence[float]]) -> Scaling:
    """A scaling from plain data.

    Raises:
        ValueError: If it has other entries than ``shift``, ``scale``, ``log`` and ``log1p``.
    """
    if not isinstance(given, Mapping) or not set(given) <= _KEYS:
        raise ValueError(f"scaling must have the entries {', '.join(sorted(_KEYS))}, got {given!r:.80}.")
    return Scaling(dim, **given)


def unscaled(d: Distribution) -> Distribution:
    """The distribution of complete events in the units of the likelihood."""
    while hasattr(d, "complete"):
        d = d.complete
    return d
