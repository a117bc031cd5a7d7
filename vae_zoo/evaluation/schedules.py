"""Schedules of annealed importance sampling: exponents of the distributions between the base and the joint."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Schedule = Callable[[int], Tensor]
"""From a number of steps T to exponents β, (T + 1,), that rise from 0 to 1."""


def linear(num_steps: int) -> Tensor:
    """Evenly spaced exponents, (num_steps + 1,)."""
    return torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)


def sigmoid(num_steps: int) -> Tensor:
    r"""Exponents that move slowly at both ends, where the distributions change fastest, (num_steps + 1,).

    .. math:: \beta_t = \frac{\tilde\beta_t - \tilde\beta_0}{\tilde\beta_T - \tilde\beta_0}, \quad
        \tilde\beta_t = \frac{1}{1 + e^{-4 (2 t / T - 1)}}

    References:
        | On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017)
        | https://arxiv.org/abs/1611.04273
    """
    beta = torch.sigmoid(4 * torch.linspace(-1, 1, num_steps + 1, dtype=torch.float64))
    return (beta - beta[0]) / (beta[-1] - beta[0])
