"""The check of a bound where the evidence is 1, so that whatever exceeds 0 is an error."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vae_zoo.distributions import Family
from vae_zoo.nn import Dense
from vae_zoo.testing.evidence import SIGMAS
from vae_zoo.testing.noise import seed_cpu
from vae_zoo.testing.subject import Found, Subject
from vae_zoo.typing import Shape

STARTS = 32
"""Examples, each with parameters of its own: an invalid density may show at few parameters only."""

SPREAD = 1.5
"""Standard deviation of the parameters of the last example; that of the first is 0."""

STEPS = 60
RATE = 0.03
DRAWS = 1000


class UnitLikelihood(Family):
    r"""A likelihood of 1 for every example and latent, with which the evidence is 1 for every prior.

    .. math:: p(x|z) = 1, \quad p(x) = \int p(x|z) \, p(z) \, dz = 1

    Args:
        shape: Shape of one event.
    """

    def distribution(self, params: Tensor) -> Distribution:
        return _Unit(params, self.shape)


class Starts(nn.Module):
    """A table of outputs for examples that are rows of the unit matrix, from 0 to far from it.

    Args:
        in_shape: Shape of one example, (N,).
        out_shape: Shape of one output.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        self.out_shape = out_shape
        spread = torch.linspace(0, SPREAD, in_shape[0])[:, None]
        self.table = nn.Parameter(spread * torch.randn(in_shape[0], math.prod(out_shape)))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.table).unflatten(-1, self.out_shape)


def unit_likelihood(subject: Subject) -> Found:
    """with p(x|z) = 1 the bound stays at most 0 when it is trained alone, in closed form and by samples"""
    parts: dict[str, Any] = {"encoder": Starts, "decoder": partial(Dense, hidden=[]), "likelihood": UnitLikelihood}
    small = partial(Dense, hidden=[16])
    sizes = {"latent_dim": 2, "width": 16, "layer": small, "discriminator": small, "network": nn.Identity}
    parts |= {name: size for name, size in sizes.items() if subject.takes(name)}
    model = subject.bound(shape=(STARTS,), **parts).double()
    mean, error = _trained(model, torch.eye(STARTS, dtype=torch.double), subject.labels(STARTS))
    if not bool(mean.isfinite().all()):
        return Found(False, f"not finite after {STEPS} steps", "finite")
    at = int((mean - SIGMAS * error).argmax())
    said, allowed = mean.flatten()[at].item(), SIGMAS * error.flatten()[at].item()
    return Found(said <= allowed + 1e-6, f"highest bound {said:.3g} nats", f"0, to {allowed:.2g}")


def _trained(model: Any, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both bounds of each example and their standard errors, (2, B), after training on the higher of the two."""
    seed_cpu(21)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    less = 2 if getattr(model, "decodings", 1) > 1 else 1  # for a draw of several passes
    for _ in range(STEPS // less):
        terms = model.elbo(x, c, 4)
        optimizer.zero_grad()
        (-torch.maximum(terms.value, terms.log_w.mean(0)).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        rows = [model.elbo(x, c, DRAWS // 10 // less) for _ in range(10)]
        value, log_w = torch.stack([row.value for row in rows]), torch.cat([row.log_w for row in rows])
    mean = torch.stack([value.mean(0), log_w.mean(0)])
    error = log_w.std(0) / math.sqrt(len(log_w))  # at least that of a bound in closed form
    return mean, torch.maximum(error, value.std(0) / math.sqrt(len(rows))).expand_as(mean)


class _Unit(Distribution):
    arg_constraints: dict[str, constraints.Constraint] = {}
    support = constraints.real

    def __init__(self, params: Tensor, shape: Shape) -> None:
        self.params = params
        super().__init__(params.shape[: params.ndim - len(shape)], torch.Size(shape), validate_args=False)

    @property
    def mean(self) -> Tensor:
        return self.params

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.params.expand(*sample_shape, *self.params.shape)

    def log_prob(self, value: Tensor) -> Tensor:  # noqa: ARG002
        return self.params.new_zeros(self.batch_shape)


CHECKS = (unit_likelihood,)
