"""The check of a likelihood of the user's own; those of the package have tests of their own."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from vae_zoo.distributions.supports import core, interval
from vae_zoo.testing.noise import seed_cpu
from vae_zoo.testing.subject import Found, SkipCheck, Subject

POINTS = 200_001
"""Points of the integral, or numbers of a sum."""

TOLERANCE = 0.01


def likelihood_mass(subject: Subject) -> Found:
    """a likelihood of its own integrates to 1 over the values of one entry, or adds up to it"""
    family: Any = getattr(subject.build(), "likelihood", None)
    if family is None or type(family).__module__.startswith("vae_zoo."):
        raise SkipCheck("its likelihood is one of vae_zoo, which has tests of its own")
    if not family.is_density:
        raise SkipCheck("its likelihood is no density")
    make = subject.kwargs.get("likelihood") or subject.default("likelihood") or type(family)
    try:
        one = make((1,))
    except (TypeError, ValueError) as error:
        raise SkipCheck("its likelihood has no events of one entry") from error
    seed_cpu(31)
    with torch.no_grad():
        d = one(torch.randn(8, *one.param_shape))
        x, log_width = _values(core(d.support))
        mass = (d.log_prob(x[:, None, None]).double() + log_width[:, None]).logsumexp(0).exp()
    worst = mass[(mass - 1).abs().argmax()].item()
    return Found(abs(worst - 1) <= TOLERANCE, f"{worst:.3g}", f"1 ± {TOLERANCE}")


def _values(support: Any) -> tuple[Tensor, Tensor]:
    """Values of an entry, (N,), and the logarithms of what each stands for.

    Raises:
        SkipCheck: If they are not those of an interval, or whole numbers.
    """
    low, high = (0.0, 1.0) if isinstance(support, type(constraints.boolean)) else interval(support) or (None, None)
    if low is None or high is None:
        raise SkipCheck("the values of its likelihood are no interval")
    if support.is_discrete:
        if not math.isfinite(low):
            raise SkipCheck("the values of its likelihood have no lowest one")
        x = low + torch.arange(min(high - low + 1, POINTS))
        return x, torch.zeros(len(x), dtype=torch.double)
    t = torch.linspace(-15, 15, POINTS, dtype=torch.double)  # x(t) goes over the interval, densest in its middle
    if math.isfinite(low) and math.isfinite(high):
        x, slope = low + (high - low) * t.sigmoid(), (high - low) * t.sigmoid() * (-t).sigmoid()
    elif math.isfinite(low) or math.isfinite(high):
        x, slope = (low + t.exp() if math.isfinite(low) else high - t.exp()), t.exp()
    else:
        x, slope = t.sinh(), t.cosh()
    return x.float(), slope.log() + math.log(30 / (POINTS - 1))


CHECKS = (likelihood_mass,)
