"""Values for missing entries of examples, by importance weighting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import Family

Weighted = Callable[[int], tuple[Tensor, Distribution]]
"""Draws a number K of latents of B examples and returns their log-weights, (K, B), and the likelihood, (K, B)."""

_VALUES = 2**24
"""Number of values that are decoded at once."""


def imputed(draw: Weighted, x: Tensor, num_samples: int, likelihood: Family, *, mean: bool) -> Tensor:
    """Examples with their missing values filled in: see :meth:`.ELBOMixin.impute`.

    The weights are summed in a stream, so that memory does not grow with the samples.

    Args:
        draw: Draws weighted latents.
        x: Examples, (B, \\*shape), in which NaN is missing.
        num_samples: Number of latents of each example.
        likelihood: The model's likelihood, which knows how to average its means.
        mean: Whether to take the weighted mean, or a draw.
    """
    at_once = max(1, _VALUES // max(1, x.numel()))
    total = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    values: Tensor | None = None
    for start in range(0, num_samples, at_once):
        log_w, px = draw(min(at_once, num_samples - start))
        log_w = log_w.to(total.dtype)
        here = torch.logsumexp(log_w, 0)
        after = torch.logaddexp(total, here)
        fresh = torch.exp(here - after)  # share of these latents of the weight of all so far
        if mean:
            shares, means = torch.softmax(log_w, 0), likelihood.expectation(px, x.device)
            part = (_beside(shares, means) * means).sum(0)
            values = part if values is None else torch.lerp(values, part, _beside(fresh, part))
        else:
            chosen = torch.distributions.Categorical(logits=log_w.T, validate_args=False).sample()
            part = px.sample()[chosen, torch.arange(len(x), device=x.device)]
            taken = torch.rand_like(fresh) < fresh
            values = part if values is None else torch.where(_beside(taken, part), part, values)
        total = after
    return torch.where(x.isnan(), likelihood.summarise(values) if mean else values, x)  # type: ignore[arg-type]


def _beside(weights: Tensor, values: Tensor) -> Tensor:
    """Weights (...) shaped for multiplication with values (..., \\*shape), in their precision."""
    weights = weights.reshape(*weights.shape, *[1] * (values.ndim - weights.ndim))
    return weights if weights.dtype == torch.bool else weights.to(values.dtype)
