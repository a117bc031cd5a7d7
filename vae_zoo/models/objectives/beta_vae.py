"""The β-VAE."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.models.plain.vae import VAE


class BetaVAE(VAE):
    r"""VAE with a weighted rate; weights above 1 favour independent, possibly disentangled latents.

    .. math:: \mathcal{L}(x) = \mathbb{E}_{q(z|x)}[\log p(x|z)] - \beta \, \mathrm{KL}(q(z|x) \,\|\, p(z))

    When to use it:
        With β above 1 for fewer and more independent latents, below 1 for closer reconstructions. Not for a better
        density: only β = 1 trains the bound that is reported.

    References:
        | β-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework (Higgins et al., 2017)
        | https://openreview.net/forum?id=Sy2fzU9gl

    Args:
        beta: Weight β of the rate.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If beta is negative or not finite.
    """

    def __init__(self, *, beta: float = 4.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not (beta >= 0 and math.isfinite(beta)):
            raise ValueError(f"beta must be at least 0 and finite, got {beta}.")
        self.beta = beta

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return super().objective(elbo.weighted(self.beta))
