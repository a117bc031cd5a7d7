"""The Nouveau variational autoencoder."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions.normal import Normal, independent
from vae_zoo.elbo import ELBO
from vae_zoo.functional import exact
from vae_zoo.models.hierarchies.top_down import TopDownVAE
from vae_zoo.nn import Depthwise
from vae_zoo.nn.hierarchies.spectral import SpectralNorms
from vae_zoo.typing import Network

CLAMP = 5.0


class NVAE(TopDownVAE):
    r"""Deep hierarchy of depthwise convolutions whose posteriors are differences from the priors.

    .. math::
        q(z_l | z_{>l}, x) = \mathcal{N}(\mu_l + \Delta\mu_l, \, e^{2 (s_l + \Delta s_l)}), \quad
        \mathcal{L} = \mathbb{E}_q[\log p(x|z)] - w \sum_l \gamma_l \mathrm{KL}_l - \lambda \sum_i \sigma_i, \quad
        \gamma_l \propto \mathrm{KL}_l / d_l

    Locations and log-scales are kept in (-5, 5) by 5 tanh(·/5). σ is the largest singular value of a convolution's
    weights. While ``LinearAnnealing`` raises the weight w, layers with a high rate per dimension pay more for it, so
    that none falls silent; the factors γ average to 1 and are 1 from the end of the warm-up on. The reported bound has
    neither w, γ nor λ.

    When to use it:
        As ``VDVAE``, if posteriors close to the prior are to be easy and training is annealed. Several weights belong
        to it; ``VDVAE`` has fewer to set.

    References:
        | NVAE: A Deep Hierarchical Variational Autoencoder (Vahdat and Kautz, 2020)
        | https://arxiv.org/abs/2007.03898

    Args:
        layer: Network from maps to maps with the same sides.
        residual: Whether a posterior's location and log-scale are differences from those of the layer's prior.
        spectral_weight: Weight λ of the singular values.
        balanced: Whether the rates of the layers are balanced during the warm-up.
        kwargs: Arguments of :class:`TopDownVAE`.

    Raises:
        ValueError: If spectral_weight is negative or not finite.
    """

    units = {"spectral": "sum of the largest singular values of the layers"}

    def __init__(
        self,
        *,
        layer: Network = Depthwise,
        residual: bool = True,
        spectral_weight: float = 1e-2,
        balanced: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(layer=layer, residual=residual, **kwargs)
        if not (spectral_weight >= 0 and math.isfinite(spectral_weight)):
            raise ValueError(f"spectral_weight must be at least 0 and finite, got {spectral_weight}.")
        self.spectral_weight, self.balanced = spectral_weight, balanced
        self.spectral = SpectralNorms([self.encoder, self.up, self.blocks, self.decoder])

    def normal(self, params: Tensor) -> Distribution:
        loc, log_scale = soft_clamp(exact(params)).chunk(2, -1)
        return independent(Normal(loc, log_scale), 1)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        super().on_train_batch_start(batch, batch_idx)
        if self.spectral_weight:
            self.spectral.step()

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        found = super().objective(elbo._replace(kl=elbo.kl + self.imbalance(elbo)) if self._balances(elbo) else elbo)
        if not self.spectral_weight:
            return found
        total = self.spectral()
        return {**found, "loss": found["loss"] + self.spectral_weight * total, "spectral": total}

    def _balances(self, elbo: ELBO) -> bool:
        return self.balanced and self.training and isinstance(elbo.annealing, Tensor)

    def imbalance(self, elbo: ELBO) -> Tensor:
        """What the weighted divergence gains from the balancing of the layers, (B,); 0 once the weight is 1."""
        rates = torch.stack([elbo.curves[f"kl_{n + 1}"] for n in range(len(self.latent_dims))])
        share = rates.detach().mean(1) / rates.new_tensor(self.latent_dims) + 1e-6
        factors = (share / share.mean())[:, None]
        warming = (torch.as_tensor(elbo.annealing) < 1).to(rates.dtype)
        return elbo.weight * warming * ((factors - 1) * rates).sum(0)


def soft_clamp(x: Tensor) -> Tensor:
    """Values in (-5, 5), those near 0 as they are."""
    return CLAMP * torch.tanh(x / CLAMP)
