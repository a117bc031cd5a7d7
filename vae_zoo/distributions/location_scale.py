"""Location-scale distributions that torch.distributions lacks, or computes less accurately."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints


class Laplace(torch.distributions.Laplace):
    """Laplace distribution parametrised by log b, so that densities and divergences need no log of an exp.

    Args:
        loc: Mean.
        log_scale: Logarithm of the scale b, the shape of loc or one that broadcasts.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor) -> None:
        self.log_scale = log_scale.expand_as(loc)
        super().__init__(loc, log_scale.exp(), validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        u = torch.rand((2, *shape), dtype=self.loc.dtype, device=self.loc.device)
        first, second = torch.log1p(-u)  # the difference of two exponential values; u is below 1
        return self.loc + self.scale * (second - first)

    def log_prob(self, value: Tensor) -> Tensor:
        return -(value - self.loc).abs() * torch.exp(-self.log_scale) - self.log_scale - math.log(2)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Laplace:
        return Laplace(self.loc.expand(batch_shape), self.log_scale.expand(batch_shape))


class CholeskyNormal(Distribution):
    """Normal distribution over events of any shape, parametrised by the lower Cholesky factor of its covariance.

    Args:
        loc: Mean, (\\*batch, D) for events of D elements.
        lower: Factor without its diagonal, (\\*batch, D, D).
        log_diagonal: Logarithm of the factor's diagonal, (\\*batch, D).
        shape: Shape of one event.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, loc: Tensor, lower: Tensor, log_diagonal: Tensor, shape: tuple[int, ...]) -> None:
        self.loc, self.log_diagonal = loc, log_diagonal
        self.scale_tril = lower + torch.diag_embed(log_diagonal.exp())
        super().__init__(loc.shape[:-1], torch.Size(shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self.loc.unflatten(-1, self.event_shape)

    @property
    def variance(self) -> Tensor:
        return self.scale_tril.square().sum(-1).unflatten(-1, self.event_shape)

    @property
    def covariance(self) -> Tensor:
        """Covariance of the elements, (\\*batch, D, D)."""
        return self.scale_tril @ self.scale_tril.mT

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = (*sample_shape, *self.loc.shape)
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        with torch.autocast(self.loc.device.type, enabled=False):  # would multiply in half precision
            z = self.loc + _rows(self.scale_tril @ _columns(noise, self.scale_tril.ndim), shape)
        return z.unflatten(-1, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        gap = value.flatten(-len(self.event_shape)) - self.loc
        with torch.autocast(self.loc.device.type, enabled=False):
            columns = _columns(gap, self.scale_tril.ndim)
            noise = torch.linalg.solve_triangular(self.scale_tril, columns, upper=False)
        constant = (self.log_diagonal + 0.5 * math.log(2 * math.pi)).sum(-1)
        return -0.5 * _rows(noise.square().sum(-2, keepdim=True), (*gap.shape[:-1], 1)).squeeze(-1) - constant


def _columns(rows: Tensor, num_dims: int) -> Tensor:
    """Samples (\\*sample, \\*batch, D) as columns of matrices with a given number of dimensions, (\\*batch, D, K).

    A factor is then applied to all samples of its example at once; broadcasting would copy it for each of them.
    """
    samples = rows.ndim + 1 - num_dims
    return rows.reshape(-1, *rows.shape[samples:]).movedim(0, -1)


def _rows(columns: Tensor, shape: Sequence[int]) -> Tensor:
    """Columns (\\*batch, D, K) as samples of that shape, (\\*sample, \\*batch, D)."""
    return columns.movedim(-1, 0).reshape(*shape)
