"""Bounds trained where they cannot rise: with a likelihood of 1, log p(x) is 0, and no bound may exceed it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions import Family


class _Certain(Distribution):
    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real

    def __init__(self, params: Tensor, event_dims: int) -> None:
        self.params = params
        at = params.ndim - event_dims
        super().__init__(params.shape[:at], params.shape[at:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.params

    def log_prob(self, value: Tensor) -> Tensor:
        del value
        return 0 * self.params.flatten(len(self.batch_shape)).sum(-1)


class Certain(Family):
    """A likelihood whose log-density is 0 whatever the latent, so that log p(x) = 0 exactly."""

    support = constraints.real

    def distribution(self, params: Tensor) -> Distribution:
        return _Certain(params, len(self.shape))


def play(
    model: Any, x: Tensor, *, num_steps: int = 2000, num_samples: int = 16, lr: float = 0.02
) -> tuple[float, float]:
    """Train a model with a :class:`Certain` likelihood on its own bound.

    Args:
        model: Model with a bound.
        x: Examples, (B, \\*shape); one or two suffice.
        num_steps: Steps of Adam.
        num_samples: Samples K of each step.
        lr: Learning rate.

    Returns:
        The bound afterwards, the mean of the logarithms of 20,000 importance weights, and its standard error.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(num_steps):
        optimizer.zero_grad()
        (-model.elbo(x, num_samples=num_samples).value.mean()).backward()
        optimizer.step()
    with torch.no_grad():
        log_w = torch.cat([model.elbo(x, num_samples=1000).log_w for _ in range(20)]).double().mean(1)
    return log_w.mean().item(), (log_w.std() / len(log_w) ** 0.5).item()
