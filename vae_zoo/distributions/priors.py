"""Priors: distributions over the latent that need no network output."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.distributions.normal import Normal, independent
from vae_zoo.typing import Shape


class Prior(nn.Module, ABC):
    """A distribution p(z) over latents of one shape.

    Args:
        shape: Shape of one latent.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = tuple(shape)

    @abstractmethod
    def forward(self, c: Tensor | None = None) -> Distribution:
        """The prior, batch shape () without a condition, (B,) with one that it uses."""


class StandardNormal(Prior):
    """The normal distribution with mean 0 and variance 1 in every dimension.

    Args:
        shape: Shape of one latent.
    """

    zero: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.register_buffer("zero", torch.zeros(self.shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        zero = self.zero if self.zero.dtype == torch.float64 else self.zero.float()
        return independent(Normal(zero, zero), len(self.shape))
