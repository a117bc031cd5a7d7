"""Which posterior goes with which prior."""

from __future__ import annotations

import math

import torch
from torch.distributions import constraints

from vae_zoo.distributions.families import Family
from vae_zoo.distributions.priors import Prior


def check_pair(posterior: Family, prior: Prior) -> None:
    """Refuse a posterior and a prior that make no bound.

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z).

    Raises:
        ValueError: If q has no density or no reparameterised samples, or p is of another shape, or gives no density
            to some of what q can draw.
    """
    names = f"{type(posterior).__name__} cannot be the posterior"
    if not posterior.is_density:
        raise ValueError(f"{names} of a model with a bound: it has no density; take DiagonalNormal, or the model AE.")
    q, p = posterior.at_zeros(), prior()
    if not q.has_rsample:
        raise ValueError(f"{names}: its samples are not reparameterised, so that no gradient would reach the encoder.")
    both = f"{type(posterior).__name__} and {type(prior).__name__} do not go together"
    if q.event_shape != p.event_shape:
        raise ValueError(f"{both}: latents are of shape {tuple(q.event_shape)} and {tuple(p.event_shape)}.")
    if not _contains(p.support, q.support):
        raise ValueError(f"{both}: the prior lies on {_core(p.support)}, the posterior draws from {_core(q.support)}.")


def _contains(outer: constraints.Constraint | None, inner: constraints.Constraint | None) -> bool:
    """Whether one support contains another; two that are no intervals must be of one kind."""
    a, b = _core(outer), _core(inner)
    if _interval(a) is None or _interval(b) is None:
        return type(a) is type(b)
    (low, high), (inner_low, inner_high) = _interval(a) or (0, 0), _interval(b) or (0, 0)
    return low <= inner_low and inner_high <= high


def _interval(c: constraints.Constraint | None) -> tuple[float, float] | None:
    if c is constraints.real:
        return -math.inf, math.inf
    low, high = getattr(c, "lower_bound", None), getattr(c, "upper_bound", None)
    if low is None and high is None:
        return None
    ends = torch.as_tensor(-math.inf if low is None else low), torch.as_tensor(math.inf if high is None else high)
    return float(ends[0].min()), float(ends[1].max())


def _core(c: constraints.Constraint | None) -> constraints.Constraint | None:
    """What holds for one element of an event."""
    while c is not None and hasattr(c, "base_constraint"):
        c = c.base_constraint
    return c
