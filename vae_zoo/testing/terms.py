"""Checks of the terms that a loss consists of: their scale, and which parameters each of them trains."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from vae_zoo.testing.noise import RowNoise, seed_cpu
from vae_zoo.testing.subject import Found, SkipCheck, Subject, curves_of
from vae_zoo.testing.unit import UnitLikelihood

ROWS, TIMES = 46, 3
"""Examples of a batch, whose rows may be pairs, and copies of it: no other size is a multiple of this number."""

EXACT = 1e-6
"""Relative difference of a number that is computed twice, in float64."""

COUPLED = 0.2
"""Relative difference of a loss that compares examples: copies are no independent sample of them."""

TIMES_SIGN = " * "
"""In a route, what stands between a value that is a weight, without gradient, and the term that it weights."""

STEP = 1e-5
"""Length of a step for a difference quotient in float64."""


def scale_invariance(subject: Subject) -> Found:
    """three copies of a batch have the loss of one, under the same noise: each term is a mean over examples"""
    coupled = subject.build().min_batch_size > 1
    one, many = (_copied(subject, times, coupled) for times in (1, TIMES))
    gaps = {n: ((many[n] - v).abs() / v.abs().clamp(min=1e-3)).item() for n, v in one.items()}
    worst = "loss" if coupled else max(gaps, key=lambda name: gaps[name])
    said = f"{worst} {one[worst]:.4g}, of {TIMES} copies {many[worst]:.4g}"
    if coupled:
        return Found(gaps[worst] <= COUPLED, said, f"to {100 * COUPLED:g} %, as it compares examples")
    return Found(gaps[worst] <= EXACT, said, "the same")


def routing(subject: Subject) -> Found:
    """each group of parameters gets the gradient of the terms that routes() names for it, and of no others"""
    model, x = subject.build().double(), subject.images().double()
    routes = model.routes()
    if not routes:
        raise SkipCheck("one objective trains all parameters")
    values, grads = _terms(subject, model, x), {}
    for group, terms in routes.items():
        if not (params := _parameters(model, routes, group)):
            return Found(False, f"no parameter is called {group}", "names of parameters")
        if unknown := sorted({part for term in terms for part in term.split(TIMES_SIGN)} - values.keys()):
            return Found(False, f"losses does not give {', '.join(unknown)}", "terms of losses")
        held = held_weights(values, terms)
        grads[group] = held, params, _gradient(values["loss"], params), _gradient(_sum(values, held), params)
    gaps = {}
    for group, (held, params, given, wanted) in grads.items():
        gap = ((given - wanted).norm() / torch.maximum(given.norm(), wanted.norm()).clamp(min=1e-12)).item()
        slope = 0.0 if model.straight_through else _slope_gap(subject, model, x, params, held, given)
        gaps[group or "the others"] = max(gap, slope)
    worst = max(gaps, key=lambda name: gaps[name])
    said = f"the gradient of {worst} differs by {100 * gaps[worst]:.1g} %"
    return Found(gaps[worst] <= 1e-4, said, f"{len(gaps)} groups, 0.01 %")


def _copied(subject: Subject, times: int, coupled: bool) -> dict[str, Tensor]:
    """What a model gives for copies of a batch; if it compares examples, for its rate and penalties alone."""
    model = subject.build()
    if coupled:
        many = {"num_train": 1000} if subject.takes("num_train") else {}
        model = subject.build(likelihood=UnitLikelihood, **many)
        seed_cpu(5)
        with torch.no_grad():
            for p in model.parameters():
                p.add_(0.2 * torch.randn_like(p))
    x, c = subject.images(ROWS).double(), subject.labels(ROWS)
    x, c = x.repeat(times, *[1] * (x.ndim - 1)), None if c is None else c.repeat(times)
    with torch.no_grad(), RowNoise(3, ROWS, times):
        return curves_of(model, model.double().losses(x, c))


def _terms(subject: Subject, model: Any, x: Tensor) -> dict[str, Tensor]:
    seed_cpu(1)
    return model.losses(x, subject.labels(len(x)))


def _parameters(model: Any, routes: Mapping[str, Any], group: str) -> list[Tensor]:
    """The parameters to which no route is closer than this one."""
    found = []
    for name, p in model.named_parameters():
        begins = [route for route in routes if not route or f"{name}.".startswith(f"{route}.")]
        if p.requires_grad and begins and max(begins, key=len) == group:
            found.append(p)
    return found


def held_weights(values: Mapping[str, Tensor], terms: Mapping[str, float]) -> dict[str, float]:
    """Terms with their weights, those that are values of the model as numbers: ``weight * term`` in a route."""
    found = {}
    for name, weight in terms.items():
        *factors, term = name.split(TIMES_SIGN)
        found[term] = math.prod([weight, *(values[factor].item() for factor in factors)])
    return found


def _sum(values: Mapping[str, Tensor], terms: Mapping[str, float]) -> Tensor:
    return torch.stack([weight * values[name] for name, weight in terms.items()]).sum()


def _gradient(value: Tensor, params: list[Tensor]) -> Tensor:
    """Gradient of a scalar as one vector, 0 where it depends on nothing."""
    zeros = [torch.zeros_like(p) for p in params]
    grads = torch.autograd.grad(value, params, retain_graph=True, allow_unused=True) if value.requires_grad else zeros
    return torch.cat([(zero if g is None else g).flatten() for zero, g in zip(zeros, grads, strict=True)])


@torch.no_grad()
def _slope_gap(
    subject: Subject, model: Any, x: Tensor, params: list[Tensor], terms: Mapping[str, float], gradient: Tensor
) -> float:
    """Difference of a gradient from the slope of the terms, which no stopped gradient changes, relative to a slope."""
    generator = torch.Generator().manual_seed(8)
    direction = torch.randn(len(gradient), generator=generator, dtype=gradient.dtype)
    direction /= direction.norm()
    steps = [part.view_as(p) for part, p in zip(direction.split([p.numel() for p in params]), params, strict=True)]
    ends = []
    for length in (STEP, -2 * STEP, STEP):  # the last goes back
        for p, step in zip(params, steps, strict=True):
            p.add_(length * step)
        ends.append(_sum(_terms(subject, model, x), terms))
    slope = (ends[0] - ends[1]) / (2 * STEP)
    usual = gradient.norm() / len(gradient) ** 0.5
    return ((slope - gradient @ direction).abs() / usual.clamp(min=1e-12)).item()


CHECKS = (scale_invariance, routing)
