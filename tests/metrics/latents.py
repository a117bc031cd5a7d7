"""Latents whose disentanglement is known."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

SIZES = (2, 3, 4)


def factors(repeats: int = 25, sizes: tuple[int, ...] = SIZES) -> Tensor:
    """Every combination of three factors, as often as any other."""
    return torch.tensor(list(itertools.product(*map(range, sizes)))).repeat(repeats, 1)


def perfect(v: Tensor) -> Tensor:
    """One latent a factor, in another order and of another scale and sign, and two latents of little noise."""
    noise = 0.01 * torch.randn(len(v), 2)
    return torch.cat([-3 * v[:, 2:] + 1, v[:, :1], 0.5 * v[:, 1:2], noise], 1)


def rotated(v: Tensor, angle: float = math.pi / 4) -> Tensor:
    """The first two factors mixed by a rotation, and the third by itself."""
    x = v.float() - v.float().mean(0)
    x = x / x.std(0)
    first = math.cos(angle) * x[:, 0] - math.sin(angle) * x[:, 1]
    second = math.sin(angle) * x[:, 0] + math.cos(angle) * x[:, 1]
    third = math.cos(angle) * x[:, 2]
    return torch.stack([first + 0.1 * third, second - 0.1 * third, math.sin(angle) * x[:, 2] + 0.3 * first], 1)


def noise(v: Tensor, dims: int = 5) -> Tensor:
    return torch.randn(len(v), dims)
