"""Images along single latent dimensions."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from vae_zoo.distributions import Hierarchical, TopDown, mean_of, supports
from vae_zoo.models.base.autoencoder import Autoencoder

_CANDIDATES = 64
"""Latents of a hierarchy whose effect on the image is tried."""


class Traversals(NamedTuple):
    """Single latent dimensions varied, one a row.

    Args:
        dims: The dimensions, (D,); those of a grid are counted through.
        values: Their values, (D, num_steps).
        images: Means of p(x|z), (D, num_steps, \\*shape).
        layered: Whether the layers below a dimension follow it, instead of staying those of the example.
    """

    dims: Tensor
    values: Tensor
    images: Tensor
    layered: bool = False


def traversals(
    model: Autoencoder, x: Tensor, c: Tensor | None = None, num_dims: int = 10, num_steps: int = 11, span: float = 3.0
) -> Traversals:
    """Single latent dimensions varied from -span to span, with all others fixed to those of the first example.

    Where the prior is not the standard distribution, or there is none, so that latents have no scale known beforehand,
    they are varied by span standard deviations of the examples' latents around their mean instead. On a sphere, in a
    ball and between bounds they are varied as :func:`vae_zoo.distributions.supports.traversals` does. The dimensions
    are those whose posterior mean varies most over the examples, in descending order.

    In a hierarchy, a change of one latent has little effect while those below it stay those of the example. There, the
    layers below are at the means of their prior given those above, a latent under the top layer varies by span standard
    deviations around the mean of its own prior, and the dimensions are those that change the image most.

    Args:
        model: The model.
        x: Examples.
        c: Their conditions.
        num_dims: Number of dimensions, or all if there are fewer.
        num_steps: Number of values of each.
        span: Largest absolute value of a real latent, or number of standard deviations.
    """
    z = model.embed(x, c).flatten(1)
    c = None if c is None else c[:1]
    prior = cast("Any", model).prior(c) if hasattr(model, "latent_dims") else None
    if isinstance(prior, (Hierarchical, TopDown)):
        return _in_layers(model, prior, z, c, num_dims, torch.linspace(-span, span, num_steps).to(z))
    dims = z.var(0, correction=0).argsort(descending=True)[:num_dims]
    path, rows = supports.traversals(model.posterior.support, z[0], dims, num_steps, span), torch.arange(len(dims))
    if supports.is_real(model.posterior.support) and not _has_standard_prior(model, c):
        steps = torch.linspace(-span, span, num_steps).to(z)
        path[rows, :, dims] = z.mean(0)[dims, None] + z.std(0, correction=0)[dims, None] * steps
    return Traversals(dims, path[rows, :, dims], _decoded(model, path, c))


def _has_standard_prior(model: Any, c: Tensor | None) -> bool:
    """Whether the prior has mean 0 and scale 1 in every dimension."""
    base: Any = getattr(model.prior(c), "base_dist", None) if hasattr(model, "prior") else None
    return hasattr(base, "log_scale") and not bool(base.loc.any() or base.log_scale.any())


def _in_layers(model: Any, prior: Any, z: Tensor, c: Tensor | None, num_dims: int, steps: Tensor) -> Traversals:
    below, top = prior.layers(z[:1])[:-1], prior.dims[-1]
    loc = torch.cat([*(p.mean.flatten() for p in below), z.new_zeros(top)])
    scale = torch.cat([*(p.stddev.flatten() for p in below), z.new_ones(top)])
    layer_of = torch.repeat_interleave(torch.arange(len(prior.dims)), torch.tensor(prior.dims)).to(z.device)

    def vary(dims: Tensor, steps: Tensor) -> Traversals:
        values = loc[dims, None] + steps * scale[dims, None]
        rows = z[0].expand(*values.shape, -1).clone()
        rows.scatter_(2, dims[:, None, None].expand(*values.shape, 1), values[..., None])
        for layer in layer_of[dims].unique().tolist():
            chosen = layer_of[dims] == layer
            rows[chosen] = prior.follow(rows[chosen].flatten(0, 1), layer).view_as(rows[chosen])
        return Traversals(dims, values, _decoded(model, rows, c), layered=True)

    use = (z.var(0, correction=0) / scale**2).split(prior.dims)
    each, starts = max(1, _CANDIDATES // len(use)), accumulate(prior.dims[:-1], initial=0)
    tried = torch.cat([start + u.topk(min(each, len(u))).indices for start, u in zip(starts, use, strict=True)])
    low, high = vary(tried, steps[[0, -1]]).images.flatten(2).unbind(1)
    return vary(tried[(high - low).square().sum(1).argsort(descending=True)[:num_dims]], steps)


def _decoded(model: Autoencoder, path: Tensor, c: Tensor | None) -> Tensor:
    """Means of p(x|z) of latents (D, num_steps, -1), all with one condition."""
    z = path.reshape(-1, *model.latent_shape)
    c = None if c is None else torch.cat([c] * len(z))
    return mean_of(model.decode(z, c), z.device).unflatten(0, path.shape[:2])
