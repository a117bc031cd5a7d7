"""The VAE of strings of tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Ramp, RecurrentEncoder
from vae_zoo.typing import Network


class SequenceVAE(VAE):
    r"""VAE of strings of tokens, whose divergence is weighted from 0 to 1 during a warm-up.

    .. math:: \mathcal{L}(x) = \mathbb{E}_{q(z|x)} \Big[ \sum_t \log p(x_t | x_{<t}, z) \Big]
        - w(s) \, \mathrm{KL}(q(z|x) \,\|\, p(z)), \quad w(s) = \min(1, s / S)

    The likelihood of :class:`~vae_zoo.data.Tokens` is :class:`~vae_zoo.distributions.AutoregressiveTokens`, whose word
    dropout belongs to the paper. It predicts tokens well without the latent; warm-up and word dropout delay that, and
    free bits keep a rate where they do not suffice. The warm-up is linear instead of sigmoid.

    When to use it:
        For texts, molecules and other strings, if one latent for a whole string is wanted. For a likelihood alone, a
        language model without latents is simpler. Watch the rate, which falls to 0 easily.

    References:
        | Generating Sentences from a Continuous Space (Bowman et al., 2016)
        | https://arxiv.org/abs/1511.06349

    Args:
        latent_dim: Number of latent dimensions.
        encoder: Network from a string to the parameters of the posterior.
        free_bits: Nats per latent dimension below which the rate costs nothing.
        warmup: Steps S of the optimizer until the weight is 1.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If warmup is less than 1.
    """

    own_schedule = "its warm-up"

    def __init__(
        self,
        *,
        latent_dim: int = 16,
        encoder: Network = RecurrentEncoder,
        free_bits: float = 0.5,
        warmup: int = 500,
        **kwargs: Any,
    ) -> None:
        super().__init__(latent_dim=latent_dim, encoder=encoder, free_bits=free_bits, **kwargs)
        self.warmup = Ramp(0.0, 1.0, warmup)

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return super().objective(elbo.annealed(self.warmup()))
