"""Mixtures of the distributions of a batch."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.normal import is_normal

_CHUNK_ELEMENTS = 2**22
"""Densities of samples under components computed at once: 32 MiB of float64."""


class Mixture(Distribution):
    r"""Mixture of the distributions of a batch, with equal weights, some of which may be left out.

    .. math:: p(z) = \frac{1}{P} \sum_{i=1}^P p_i(z)

    Densities under normal components are a matrix product, in float64: the expanded square
    :math:`(z - \mu)^2 / \sigma^2` cancels, with an error of 0.3 nats in float32 at a σ of 0.007.

    Args:
        components: Distributions of batch shape (P,).
        left_out: Components that the mixture is without, (P,) of bool; not all of them.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, components: Distribution, left_out: Tensor | None = None) -> None:
        self.components, self.left_out = components, left_out
        super().__init__(torch.Size(), components.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint | None:
        return self.components.support

    @property
    def mean(self) -> Tensor:
        return self._average(self.components.mean)

    @property
    def variance(self) -> Tensor:
        return self._average(self.components.variance + (self.components.mean - self.mean).square())

    def log_prob(self, value: Tensor) -> Tensor:
        shape = value.shape[: value.ndim - len(self.event_shape)]
        rows = value.reshape(-1, *self.event_shape).split(max(1, _CHUNK_ELEMENTS // self.components.batch_shape[0]))
        densities = [torch.logsumexp(self._kept(self._log_probs(part)), 1) - self._log_number() for part in rows]
        return torch.cat(densities).to(value.dtype).view(shape)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        each = self.components.sample(torch.Size(sample_shape))  # (*sample_shape, P, *event)
        if self.left_out is None:
            chosen = torch.randint(self.components.batch_shape[0], tuple(sample_shape), device=each.device)
        else:
            kept = (~self.left_out).float()
            chosen = kept.expand(math.prod(sample_shape), -1).multinomial(1).view(sample_shape)
        dim = len(sample_shape)
        index = chosen.view(*sample_shape, 1, *[1] * len(self.event_shape))
        return each.gather(dim, index.expand(*sample_shape, 1, *self.event_shape)).squeeze(dim)

    def _kept(self, log_probs: Tensor) -> Tensor:
        return log_probs if self.left_out is None else log_probs.masked_fill(self.left_out, -math.inf)

    def _log_number(self) -> Tensor | float:
        """Logarithm of the number of components."""
        if self.left_out is None:
            return math.log(self.components.batch_shape[0])
        return (~self.left_out).sum().to(torch.float32).log()

    def _average(self, values: Tensor) -> Tensor:
        """Mean over components of values (P, \\*event)."""
        if self.left_out is None:
            return values.mean(0)
        kept = (~self.left_out).to(values.dtype)
        return torch.tensordot(kept / kept.sum(), values, 1)

    def _log_probs(self, rows: Tensor) -> Tensor:
        """Log-densities of samples (N, \\*event) under each component, (N, P)."""
        if not is_normal(self.components):
            return self.components.log_prob(rows.unsqueeze(1))
        base = self.components.base_dist  # type: ignore[attr-defined]
        wide = torch.float32 if rows.device.type == "mps" else torch.float64
        x, loc, log_scale = (t.flatten(1).to(wide) for t in (rows, base.loc, base.log_scale))
        precision = torch.exp(-2 * log_scale)
        cross = torch.cat([x.square(), -2 * x], 1) @ torch.cat([precision, loc * precision], 1).T
        constant = (loc.square() * precision + 2 * log_scale).sum(1) + x.shape[1] * math.log(2 * math.pi)
        return -0.5 * (cross + constant)
