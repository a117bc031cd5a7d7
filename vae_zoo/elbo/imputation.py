"""Values for missing entries of examples, by importance weighting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import mean_of

Weighted = Callable[[int], tuple[Tensor, Distribution]]
"""Draws a number K of latents of B examples and returns their log-weights, (K, B), and the likelihood, (K, B)."""

_VALUES = 2**24
"""Number of values that are decoded at once."""


def imputed(draw: Weighted, x: Tensor, num_samples: int, *, mean: bool) -> Tensor:
    """Examples with their missing values filled in: see :meth:`.ELBOMixin.impute`.

    The weights are summed in a stream, so that memory does not grow with the samples.

    Args:
        draw: Draws weighted latents.
        x: Examples, (B, \\*shape), in which NaN is missing.
        num_samples: Number of latents of each example.
        mean: Whether to take the weighted mean, or a draw.
    """
    batch = (-1, *[1] * (x.ndim - 1))
    at_once = max(1, _VALUES // max(1, x.numel()))
    total = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    values = torch.zeros_like(x)
    for start in range(0, num_samples, at_once):
        log_w, px = draw(min(at_once, num_samples - start))
        log_w = log_w.to(total.dtype)
        here = torch.logsumexp(log_w, 0)
        after = torch.logaddexp(total, here)
        fresh = torch.exp(here - after)  # share of these latents of the weight of all so far
        if mean:
            shares = torch.softmax(log_w, 0).to(x.dtype)
            part = (shares.view(*shares.shape, *batch[1:]) * mean_of(px, x.device)).sum(0)
            values = torch.lerp(values, part, fresh.to(x.dtype).view(batch))
        else:
            chosen = torch.distributions.Categorical(logits=log_w.T, validate_args=False).sample()
            part = px.sample()[chosen, torch.arange(len(x), device=x.device)]
            taken = torch.rand_like(fresh) < fresh
            values = torch.where(taken.view(batch), part, values)
        total = after
    return torch.where(x.isnan(), values, x)
