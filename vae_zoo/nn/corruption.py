"""Corruptions of examples before they are encoded in training."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Corruption(nn.Module, ABC):
    """Random changes of examples that keep their shape."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Corrupted examples, (B, \\*shape)."""


class NormalNoise(Corruption):
    """Adds normal noise to every value.

    Args:
        sigma: Its standard deviation; 0 changes and draws nothing.

    Raises:
        ValueError: If sigma is negative or not finite.
    """

    def __init__(self, *, sigma: float = 0.1) -> None:
        super().__init__()
        if not (sigma >= 0 and math.isfinite(sigma)):
            raise ValueError(f"sigma must be at least 0 and finite, got {sigma}.")
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sigma * torch.randn_like(x) if self.sigma else x


class Erasure(Corruption):
    """Sets every value to 0 with a probability.

    Args:
        rate: The probability; 0 changes and draws nothing.

    Raises:
        ValueError: If rate does not lie in [0, 1).
    """

    def __init__(self, *, rate: float = 0.1) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"rate must be at least 0 and below 1, got {rate}.")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return x * (torch.rand_like(x) >= self.rate) if self.rate else x
