"""The β-TCVAE."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from vae_zoo.distributions import factorises, log_prob_per_dim
from vae_zoo.elbo import ELBO
from vae_zoo.functional import decompose_kl
from vae_zoo.models.plain.vae import VAE


class BetaTCVAE(VAE):
    r"""VAE whose rate is weighted in three parts: information, total correlation, and divergence of each dimension.

    .. math:: \mathcal{L} = \mathbb{E}[\log p(x|z)] - \alpha \, \mathrm{I}(x; z)
        - \beta \, \mathrm{KL}\Big(q(z) \,\Big\|\, \prod_j q(z_j)\Big) - \gamma \sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j))

    The parts are estimated from the batch with stratified weights: see :func:`~vae_zoo.functional.decompose_kl`. With
    all three weights 1 this is the VAE. In validation they are estimated as if its batches came from the training set.

    When to use it:
        For independent latents, with less lost in reconstructions than by raising the whole rate as ``BetaVAE`` does.
        The estimate takes large batches and a posterior with independent dimensions. Compare several seeds.

    References:
        | Isolating Sources of Disentanglement in Variational Autoencoders (Chen et al., 2018)
        | https://arxiv.org/abs/1802.04942

    Args:
        num_train: Number of training examples; linked from the data on the command line.
        alpha: Weight α of the mutual information between example and latent.
        beta: Weight β of the total correlation.
        gamma: Weight γ of the divergence of each dimension from the prior.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If a weight is negative or not finite, num_train is less than 1, or the dimensions of the posterior
            are not independent.
    """

    units = dict.fromkeys(("mi", "tc", "dw_kl"), "nats, estimated within batches")

    min_batch_size = 2

    def __init__(
        self, *, num_train: int, alpha: float = 1.0, beta: float = 6.0, gamma: float = 1.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        for name, weight in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
            if not (weight >= 0 and math.isfinite(weight)):
                raise ValueError(f"{name} must be at least 0 and finite, got {weight}.")
        if num_train < 1:
            raise ValueError(f"num_train must be at least 1, got {num_train}.")
        if not factorises(self.posterior.at_zeros()):
            name = type(self.posterior).__name__
            raise ValueError(f"BetaTCVAE needs a posterior with independent dimensions, as DiagonalNormal, got {name}.")
        self.num_train = num_train
        self.alpha, self.beta, self.gamma = alpha, beta, gamma

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        log_qz = log_prob_per_dim(elbo.q, elbo.z.unsqueeze(-2))
        mi, tc, dw_kl = decompose_kl(log_qz, elbo.log_pz, self.num_train)
        rate = self.alpha * mi + self.beta * tc + self.gamma * dw_kl + elbo.penalty
        return {"loss": elbo.weight * rate - elbo.log_px.mean(), "mi": mi, "tc": tc, "dw_kl": dw_kl}
