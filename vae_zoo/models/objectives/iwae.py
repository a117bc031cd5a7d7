"""The importance-weighted autoencoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.functional import log_mean_exp
from vae_zoo.models.plain.vae import VAE


class IWAE(VAE):
    r"""VAE trained on a tighter bound, from several samples of the posterior.

    .. math:: \mathcal{L}_K(x) = \mathbb{E}_{z_1, \dots, z_K \sim q(z|x)}
        \Big[ \log \frac{1}{K} \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)} \Big]

    When to use it:
        For a better density, at the price of K decodings at each step. As K grows, the encoder's gradient becomes
        noisy: ``IWAEDReG`` and ``PIWAE`` mend that. It does not make reconstructions sharper.

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016)
        | https://arxiv.org/abs/1509.00519

    Args:
        num_samples: Samples K of the posterior; with one, this is the VAE.
        kwargs: Arguments of :class:`VAE`.
    """

    uses_weights = True
    units = {"bound": "nats, importance-weighted"}

    def __init__(self, *, num_samples: int = 5, **kwargs: Any) -> None:
        super().__init__(num_samples=num_samples, **kwargs)

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        bound = log_mean_exp(elbo._replace(weight=1.0, penalty=0.0).log_w).mean()  # also while annealed
        return {"loss": -log_mean_exp(elbo.log_w).mean(), "bound": bound}
