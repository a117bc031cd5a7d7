"""Examples drawn under the condition that some of their values are known."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_zoo.distributions import score
from vae_zoo.evaluation.sampling import check_class, num_classes
from vae_zoo.system.seeding import forked

_CHUNK = 1024


class Conditioned(NamedTuple):
    """Draws of the other values given the known ones.

    Args:
        x: Examples, (num, \\*shape).
        ess: Effective number of latents, of those that were weighted: with few, the draws repeat the same ones.
    """

    x: Tensor
    ess: float


@torch.no_grad()
def conditional(
    model: Any, known: Tensor, num: int, *, label: int | None = None, num_latents: int = 10_000, seed: int = 0
) -> Conditioned:
    r"""Draw examples with some values known, by importance resampling of latents.

    .. math:: z_k \sim \tfrac{1}{2} p(z) + \tfrac{1}{2} q(z | x_{obs}), \quad
        w_k \propto \frac{p(x_{obs} | z_k) \, p(z_k)}{\frac{1}{2} p(z_k) + \frac{1}{2} q(z_k | x_{obs})}

    Half of the latents are from the prior, so that the weights are bounded where the encoder, which may never have seen
    such gaps, is wrong.

    Args:
        model: A model with a bound, of examples with missing values.
        known: The known values, with NaN for the others, (\*shape).
        num: Number of draws.
        label: Class of the draws, for a model of classes.
        num_latents: Number of latents to weight, at least 2.
        seed: Seed of the draws.

    Raises:
        ValueError: If the model is of complete examples or needs conditions, if it has no such class, or if none is
            given.
    """
    if not model.likelihood.missing:
        raise ValueError(f"{type(model).__name__} was made for complete examples: make it with missing set to true.")
    if getattr(model, "condition_sizes", None):
        raise ValueError(f"{type(model).__name__} samples under conditions of its own: draw under these instead.")
    check_class(model, label)
    if label is None and (classes := num_classes(model)):
        raise ValueError(f"{type(model).__name__} draws under a label: give class, 0 .. {classes - 1}.")
    c = None if label is None else torch.tensor([label], device=model.device)
    x = known.to(model.device)[None]
    model.likelihood.check(x)
    with forked(seed, model.device):
        q, p = model.encode(x, c), model.prior(c)
        half = max(1, num_latents // 2)
        drawn = p.sample((half,)) if tuple(p.batch_shape) == (1,) else p.sample((half, 1))
        z = torch.cat([drawn.reshape(half, 1, *q.event_shape), q.sample((half,))])
        log_p, log_q = p.log_prob(z).reshape(-1), q.log_prob(z).reshape(-1)
        log_px = torch.cat([score(model.decode(part, c), x, part.shape[:2])[:, 0] for part in z.split(_CHUNK)])
        log_w = (log_px + log_p - (torch.logaddexp(log_p, log_q) - math.log(2))).double()
        weights = torch.softmax(log_w, 0)
        chosen = z[torch.multinomial(weights, num, replacement=True)]
        drawn = torch.cat([model.decode(part, c).sample()[:, 0] for part in chosen.split(_CHUNK)])
    return Conditioned(torch.where(x.isnan(), drawn, x), float(1 / weights.square().sum()))
