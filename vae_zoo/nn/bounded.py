"""Activations."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


class _Clamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bounds = low, high
        return x.clamp(low, high)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,), (low, high) = ctx.saved_tensors, ctx.bounds
        outward = ((x <= low) & (grad > 0)) | ((x >= high) & (grad < 0))
        return grad.masked_fill(outward, 0), None, None


class Bounded(nn.Module):
    """Clamp to an interval whose gradient is 0 only where a gradient step would lead further out.

    The gradient of Hardtanh is 0 outside and at both ends, so values get stuck there.

    Args:
        low: Lower end.
        high: Upper end.

    Raises:
        ValueError: If low is not below high, or one of them is not finite.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        if not -math.inf < low < high < math.inf:
            raise ValueError(f"low must be below high, and both finite, got {low} and {high}.")
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        """Values in [low, high], the shape of x."""
        return _Clamp.apply(x, self.low, self.high)
