"""Independent distributions of the parts of one vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.supports import Product


class Parts(Distribution):
    r"""Independent distributions, whose events are flattened and concatenated into one vector.

    .. math:: \log p(z_1, \dots, z_n) = \sum_i \log p_i(z_i)

    Args:
        parts: Distributions of one batch shape.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, parts: Sequence[Distribution]) -> None:
        self.parts = list(parts)
        self.sizes = [part.event_shape.numel() for part in self.parts]
        super().__init__(self.parts[0].batch_shape, torch.Size([sum(self.sizes)]), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return Product([part.support for part in self.parts], [tuple(part.event_shape) for part in self.parts])

    @property
    def num_variables(self) -> int:
        """Number of variables of all parts; a categorical variable counts as one."""
        return sum(getattr(part, "num_variables", size) for part, size in zip(self.parts, self.sizes, strict=True))

    @property
    def mean(self) -> Tensor:
        return self.join([part.mean for part in self.parts])

    @property
    def variance(self) -> Tensor:
        return self.join([part.variance for part in self.parts])

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self.join([part.rsample(sample_shape) for part in self.parts])

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.join([part.sample(sample_shape) for part in self.parts])

    def log_prob(self, value: Tensor) -> Tensor:
        values = zip(self.parts, self.split(value), strict=True)
        return torch.stack([part.log_prob(z) for part, z in values]).sum(0)

    def split(self, value: Tensor) -> list[Tensor]:
        """The parts of vectors (..., D), each of its own event shape."""
        shapes = (part.event_shape for part in self.parts)
        return [z.unflatten(-1, shape) for z, shape in zip(value.split(self.sizes, -1), shapes, strict=True)]

    def join(self, values: Sequence[Tensor]) -> Tensor:
        """Vectors (..., D) of parts."""
        axes = (len(part.event_shape) for part in self.parts)
        return torch.cat([z.flatten(z.ndim - n) for z, n in zip(values, axes, strict=True)], -1)
