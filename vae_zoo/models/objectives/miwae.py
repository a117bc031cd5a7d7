"""The multiply importance-weighted autoencoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.functional import log_mean_exp
from vae_zoo.models.objectives.iwae import IWAE


class MIWAE(IWAE):
    r"""IWAE that averages several independent bounds, for a gradient of the encoder with less noise.

    .. math:: \mathcal{L}_{M,K}(x) = \mathbb{E} \Big[ \frac{1}{M} \sum_{m=1}^M \log \frac{1}{K} \sum_{k=1}^K
        \frac{p(x, z_{mk})}{q(z_{mk}|x)} \Big], \quad z_{mk} \sim q(z|x)

    With M = 1 it is :class:`IWAE`, with K = 1 the ELBO. The metric ``bound`` is the tighter bound of all M·K samples.

    When to use it:
        If the encoder matters more than the tightness of the bound. It decodes M·K samples at each step: with little
        time, spend them on ``IWAEDReG``.

    References:
        | Tighter Variational Bounds are Not Necessarily Better (Rainforth et al., 2018)
        | https://arxiv.org/abs/1802.04537

    Args:
        num_groups: Number of bounds M.
        num_samples: Samples K of the posterior in each.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If num_groups is less than 1.
    """

    apart = dict.fromkeys(("CIWAE", "IWAEDReG"), "both replace the loss of IWAE")

    def __init__(self, *, num_groups: int = 8, num_samples: int = 8, **kwargs: Any) -> None:
        super().__init__(num_samples=num_samples, **kwargs)
        if num_groups < 1:
            raise ValueError(f"num_groups must be at least 1, got {num_groups}.")
        self.num_groups = num_groups

    @property
    def num_draws(self) -> int:
        return self.num_groups * self.num_samples

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return super().objective(elbo) | {"loss": -self.mean_of_bounds(elbo.log_w)}

    def mean_of_bounds(self, log_w: Tensor) -> Tensor:
        """The mean of the bounds of M groups of K importance weights each, (M K, B)."""
        groups = log_w.tensor_split(min(self.num_groups, len(log_w)))
        return torch.stack([log_mean_exp(group).mean() for group in groups]).mean()
