"""The VAE-GAN."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from vae_zoo.distributions import DiagonalNormal, Family, Prior, StandardNormal, check_pair, kl
from vae_zoo.elbo import Generative
from vae_zoo.models.base.components import make
from vae_zoo.models.base.groups import split_off
from vae_zoo.models.base.penalised import Penalised
from vae_zoo.nn import ConvCritic, Critic, frozen
from vae_zoo.nn.batching import as_weights
from vae_zoo.penalties.base import draws_like
from vae_zoo.typing import Network, Shape


class VAEGAN(Penalised, Generative):
    r"""VAE whose reconstructions are compared in the features of a discriminator, which its decoder tries to deceive.

    .. math:: \mathcal{L}_{enc} = \mathrm{KL}(q(z|x) \,\|\, p(z)) + R, \quad
        R = \tfrac{1}{2} \| f(x) - f(\hat x) \|^2

    .. math:: \mathcal{L}_{dec} = \gamma R + \mathrm{softplus}(-T(\hat x)) + \mathrm{softplus}(-T(x_p))

    .. math:: \mathcal{L}_{dis} = \mathrm{softplus}(-T(x)) + \mathrm{softplus}(T(\hat x)) + \mathrm{softplus}(T(x_p))

    Here :math:`\hat x` is the decoder's picture of a draw of q(z|x), and :math:`x_p` that of a draw of the prior. The
    three are added up in one scalar, each with the other networks held fixed, whereas the paper alternates. The
    decoder's term is the non-saturating one. There is no bound, because the features change during training.

    When to use it:
        For sharper pictures than pixel likelihoods give, with time for a game. Not for likelihoods; not for short
        training.

    References:
        | Autoencoding beyond Pixels Using a Learned Similarity Metric (Larsen et al., 2016)
        | https://arxiv.org/abs/1512.09300

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z).
        gamma: Weight γ of the comparison in the decoder's objective.
        discriminator: Network from an example to features f and a logit T; by default :class:`~vae_zoo.nn.ConvCritic`
            for examples with sides and :class:`~vae_zoo.nn.Critic` for vectors.
        discriminator_lr: Learning rate of the discriminator.
        kwargs: Arguments of :class:`Penalised`.

    Raises:
        ValueError: If gamma is negative or not finite, discriminator_lr is not positive and finite, or posterior and
            prior cannot be combined.
    """

    game = True
    units = {
        "feature_distance": "half of the squared distance",
        "decoder_loss": "weighted distance, and nats",
        "discriminator_loss": "nats, 3 ln 2 at chance",
    }

    incomplete = scales = "the discriminator judges whole pictures"

    def __init__(
        self,
        *,
        posterior: Callable[[Shape], Family] = DiagonalNormal,
        prior: Callable[[Shape], Prior] = StandardNormal,
        gamma: float = 1.0,
        discriminator: Network | None = None,
        discriminator_lr: float = 1e-3,
        **kwargs: Any,
    ) -> None:
        super().__init__(posterior=posterior, **kwargs)
        if not (gamma >= 0 and math.isfinite(gamma)):
            raise ValueError(f"gamma must be at least 0 and finite, got {gamma}.")
        if not (discriminator_lr > 0 and math.isfinite(discriminator_lr)):
            raise ValueError(f"discriminator_lr must be positive and finite, got {discriminator_lr}.")
        self.gamma, self.discriminator_lr = gamma, discriminator_lr
        self.latent_prior = make("prior", prior, Prior, (self.latent_dim,))  # type: ignore[type-abstract]
        check_pair(self.posterior, self.latent_prior)
        self.check_penalties(self.latent_prior)
        critic = discriminator or (ConvCritic if len(self.shape) > 1 else Critic)
        self.discriminator = make("discriminator", critic, nn.Module, self.shape, (1,))

    def prior(self, c: Tensor | None = None) -> Distribution:
        return self.latent_prior(c)

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        q, p = self.encode(x, c), self.prior(c)
        z, judge = q.rsample(), frozen(self.discriminator)
        rate = kl(q, p, z.unsqueeze(0)).mean()

        encoded = self._distance(judge, x, self._picture(frozen(self.decoder), z))
        drawn, sampled = (self._picture(self.decoder, latents.detach()) for latents in (z, draws_like(z, p)))
        pictures = torch.cat([drawn, sampled])  # two of each example
        deceive = 2 * softplus(-self._judged(judge, pictures)[1]).mean()
        decoder = self.gamma * self._distance(judge, x, drawn) + deceive
        fake, real = (self._judged(self.discriminator, images)[1] for images in (pictures.detach(), x))
        own = softplus(-real).mean() + 2 * softplus(fake).mean()

        terms = {"kl": rate, "feature_distance": encoded, "decoder_loss": decoder, "discriminator_loss": own}
        return self.penalised({"loss": rate + encoded + decoder + own, **terms}, z, q, p, c=c)

    def routes(self) -> dict[str, dict[str, float]]:
        encoder = {"kl": 1.0, "feature_distance": 1.0}
        own = {"encoder": encoder, "decoder": {"decoder_loss": 1.0}, "discriminator": {"discriminator_loss": 1.0}}
        return {**super().routes(), **own}

    def param_groups(self) -> list[dict[str, Any]]:
        own = {"params": list(self.discriminator.parameters()), "lr": self.discriminator_lr}
        return split_off(super().param_groups(), own)

    def _picture(self, decoder: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        """Means of the likelihood at latents (B, D)."""
        return self.likelihood(decoder(as_weights(z, self.decoder))).mean

    def _judged(self, discriminator: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits of pictures (B, \\*shape), in float32 or better."""
        features, logits = discriminator(as_weights(x, self.discriminator))
        exact = torch.promote_types(x.dtype, torch.float32)
        return features.to(exact), logits.to(exact)

    def _distance(self, discriminator: Callable[..., tuple[Tensor, Tensor]], x: Tensor, picture: Tensor) -> Tensor:
        a, b = (self._judged(discriminator, images)[0] for images in (x, picture))
        return 0.5 * (a - b).square().sum(1).mean()
