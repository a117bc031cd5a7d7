"""Mean and standard deviation of distributions, from samples if no closed form is known."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.system.seeding import forked

_NUM_SAMPLES = 256


def mean_of(d: Distribution, device: torch.device) -> Tensor:
    """The mean of a distribution; without a closed form, the mean of 256 samples, the same at each call."""
    try:
        return d.mean
    except NotImplementedError:
        return _moments(d, device)[0]


def stddev_of(d: Distribution, device: torch.device) -> Tensor:
    """The standard deviation of a distribution; without a closed form, that of the samples of :func:`mean_of`."""
    try:
        return d.stddev
    except NotImplementedError:
        return _moments(d, device)[1]


def observing(px: Distribution, x: Tensor) -> Distribution:
    """The likelihood at what is observed of examples besides their latents: their totals, for some of counts."""
    given = getattr(px, "observing", None)
    return px if given is None else given(x)


@torch.no_grad()
def _moments(d: Distribution, device: torch.device) -> tuple[Tensor, Tensor]:
    with forked(0, device):
        total = square = torch.zeros((), device=device)
        for _ in range(_NUM_SAMPLES):  # one after the other, because those of images may not fit together
            x = d.sample()
            total, square = total + x, square + x.square()
    average = total / _NUM_SAMPLES
    return average, (square / _NUM_SAMPLES - average.square()).clamp(min=0).sqrt()
