"""Checks that distributions make a bound: their shapes, and pairs of posterior and prior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vae_zoo.distributions.families import Family
from vae_zoo.distributions.priors import Prior
from vae_zoo.distributions.supports import contains, support_of
from vae_zoo.typing import Shape


def check_family(family: Family, role: str) -> Distribution:
    """Refuse a family whose distributions are not over events of its shape.

    Args:
        family: Family of q(z|x) or p(x|z).
        role: Name of the argument.

    Returns:
        The distributions of two events with all parameters 0.

    Raises:
        ValueError: If it gives no distribution, or one of other shapes.
    """
    name = f"{role} {type(family).__name__}"
    with torch.no_grad():
        d = family.at_zeros(2)
    if not isinstance(d, Distribution):
        raise ValueError(f"{name} must give a distribution of torch.distributions, gave a {type(d).__name__}.")
    check_shapes(d, name, (2,), family.shape)
    return d


def check_likelihood(family: Family) -> None:
    """Refuse a likelihood whose distributions are not over examples, or cannot score them.

    Raises:
        ValueError: If it has no log_prob.
    """
    d = check_family(family, "likelihood")
    while type(d) is Independent:
        d = d.base_dist
    if type(d).log_prob is Distribution.log_prob:
        name = type(family).__name__
        raise ValueError(f"{name} cannot be the likelihood: it has no log_prob to score data by; take FixedNormal.")


def check_shapes(d: Distribution, what: str, batch: Shape, event: Shape) -> None:
    """Refuse a distribution of other shapes, whose densities could broadcast to a plausible bound.

    Shapes are known when a graph is compiled, so the check costs nothing in a compiled graph.

    Args:
        d: Distribution.
        what: Its name in errors.
        batch: Expected batch shape.
        event: Expected event shape.

    Raises:
        ValueError: If batch or event shapes differ.
    """
    found = tuple(d.batch_shape), tuple(d.event_shape)
    if found != (batch, event):
        hint = ""
        if found[0] + found[1] == batch + event and len(found[1]) < len(event):
            hint = f": wrap it in torch.distributions.Independent(…, {len(event) - len(found[1])})"
        raise ValueError(
            f"{what} must have batch shape {batch} and event shape {event}, has {found[0]} and {found[1]}{hint}."
        )


def check_latents(q: Distribution, p: Distribution, num: int) -> None:
    """Refuse a posterior and a prior that are not over the same latents, or not of this number of examples.

    Raises:
        ValueError: If the latents have another shape.
    """
    event = tuple(q.event_shape)
    check_shapes(q, "the posterior q(z|x)", (num,), event)
    if tuple(p.batch_shape) not in ((), (1,)):
        check_shapes(p, "the prior p(z)", (num,), event)
    elif tuple(p.event_shape) != event:
        check_shapes(p, "the prior p(z)", tuple(p.batch_shape), event)


def check_prior(prior: Prior, shape: Shape) -> None:
    """Refuse a prior that is not over latents of this shape.

    Raises:
        ValueError: If the latents have another shape.
    """
    p = prior()
    check_shapes(p, f"the prior {type(prior).__name__}", tuple(p.batch_shape), shape)


def score(px: Distribution, x: Tensor, batch: Shape) -> Tensor:
    """log p(x|z) of examples under distributions with a given batch shape, such as (K, B).

    Raises:
        ValueError: If the distributions are not over such examples, or return densities of another shape.
    """
    check_shapes(px, "the likelihood p(x|z)", tuple(batch), tuple(x.shape[1:]))
    log_px = px.log_prob(x)
    if tuple(log_px.shape) != tuple(batch):
        raise ValueError(
            f"log p(x|z) must be of shape {tuple(batch)}, one number an example, is {tuple(log_px.shape)}."
        )
    return log_px


def check_pair(posterior: Family, prior: Prior) -> None:
    """Refuse a posterior and a prior that do not make a bound.

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z).

    Raises:
        ValueError: If q has no density or no reparameterised samples, or p has another shape or does not cover the
            support of q.
    """
    check_posterior(posterior)
    q, p = posterior.at_zeros(), prior()
    both = f"{type(posterior).__name__} and {type(prior).__name__} do not go together"
    if q.event_shape != p.event_shape:
        raise ValueError(f"{both}: latents are of shape {tuple(q.event_shape)} and {tuple(p.event_shape)}.")
    inner, outer = support_of(q), support_of(p)
    if not contains(outer, inner):
        raise ValueError(f"{both}: the prior lies on {outer}, the posterior draws from {inner}.")


def check_posterior(posterior: Family) -> None:
    """Refuse a posterior that cannot make a bound with any prior.

    Raises:
        ValueError: If it has no density or no reparameterised samples, or depends on more than its parameters.
    """
    names = f"{type(posterior).__name__} cannot be the posterior"
    if not posterior.is_for_latents:
        raise ValueError(f"{names}: its scale is computed from data, which latents are not; take DiagonalNormal.")
    if not posterior.is_density:
        raise ValueError(f"{names} of a model with a bound: it has no density; take DiagonalNormal, or the model AE.")
    if not posterior.at_zeros().has_rsample:
        raise ValueError(f"{names}: its samples are not reparameterised, so that no gradient would reach the encoder.")
