"""Active and informative latent dimensions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class ActiveUnits(Metric):
    r"""Number of latent dimensions whose posterior mean varies with the example.

    .. math:: \#\{ d : \mathrm{Var}_x \, \mathbb{E}_{q(z_d|x)}[z_d] > \delta \}

    References:
        | Importance Weighted Autoencoders, section 5.2 (Burda et al., 2016)
        | https://arxiv.org/abs/1509.00519

    Args:
        threshold: Variance δ above which a dimension counts.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If threshold is negative or not finite.
    """

    higher_is_better = True
    full_state_update = False
    moments: list[Tensor]

    def __init__(self, *, threshold: float = 0.01, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = _checked(threshold)
        self.add_state("moments", default=[], dist_reduce_fx="cat")

    def update(self, mean: Tensor) -> None:
        """Add posterior means, (B, \\*latent)."""
        mean = mean.detach().flatten(1).float()
        batch = torch.stack([torch.full_like(mean[0], len(mean)), mean.mean(0), mean.var(0, correction=0) * len(mean)])
        self.moments = [_merge(torch.stack([*self.moments, batch]))]

    def variance(self) -> Tensor:
        """Variance over the data of the posterior mean, (D,)."""
        moments = self.moments if isinstance(self.moments, Tensor) else torch.cat([m[None] for m in self.moments])
        count, _, squares = _merge(moments.reshape(-1, 3, moments.shape[-1]))
        return squares / count

    def compute(self) -> Tensor:
        """The number of active dimensions."""
        return (self.variance() > self.threshold).sum()


class InformativeUnits(Metric):
    r"""Number of latent dimensions whose rate, averaged over the data, is above a floor.

    .. math:: \#\{ d : \overline{\mathrm{KL}}(q(z_d|x) \,\|\, p(z_d)) > \kappa \}

    Unlike :class:`ActiveUnits`, it reveals a collapse in which means vary a little although the posterior is as wide as
    the prior, so that a latent has next to no information about its example.

    Args:
        threshold: Rate κ in nats above which a dimension counts.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If threshold is negative or not finite.
    """

    higher_is_better = True
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, *, threshold: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.threshold = _checked(threshold)
        self.add_state("total", default=torch.zeros(1), dist_reduce_fx="sum")
        self.add_state("count", default=torch.zeros(()), dist_reduce_fx="sum")

    def update(self, rates: Tensor) -> None:
        """Add rates of a batch in nats, (B, D), such as ``ELBO.rates``."""
        self.total = self.total + rates.detach().float().sum(0)
        self.count = self.count + len(rates)

    def rates(self) -> Tensor:
        """Mean rate of each dimension, (D,)."""
        return self.total / self.count

    def compute(self) -> Tensor:
        """The number of informative dimensions."""
        return (self.rates() > self.threshold).sum()


def _checked(threshold: float) -> float:
    if not 0 <= threshold < math.inf:
        raise ValueError(f"threshold must be at least 0 and finite, got {threshold}.")
    return threshold


def _merge(moments: Tensor) -> Tensor:
    """Merge counts, means and sums of squared deviations, (N, 3, D), into one, (3, D)."""
    count, mean, squares = moments.unbind(1)
    total = count.sum(0)
    overall = (count * mean).sum(0) / total
    return torch.stack([total, overall, (squares + count * (mean - overall).square()).sum(0)])
