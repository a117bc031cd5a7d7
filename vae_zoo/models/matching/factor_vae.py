"""The FactorVAE."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import softplus

from vae_zoo.distributions.supports import is_interval, support_of
from vae_zoo.elbo import ELBO
from vae_zoo.functional import permute_dims
from vae_zoo.models.base.components import make
from vae_zoo.models.base.groups import split_off
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Discriminator, frozen
from vae_zoo.nn.batching import as_weights, check_output
from vae_zoo.typing import Network


class FactorVAE(VAE):
    r"""VAE with a penalty on total correlation, estimated by a discriminator between latents and permuted latents.

    .. math:: \mathcal{L} = \mathbb{E}[\log p(x|z)] - \mathrm{KL}(q(z|x) \,\|\, p(z))
        - \gamma \, \mathbb{E}_{q(z)} \Big[ \log \frac{D(z)}{1 - D(z)} \Big]

    The discriminator D distinguishes samples of q(z) from the same samples with every dimension permuted across the
    batch; the paper permutes those of a second batch. Its loss is part of ``loss`` and trains only the discriminator.

    When to use it:
        For independent latents, if the estimates of ``BetaTCVAE`` within a batch are too poor. It adds a second network
        with its own learning rate: begin with the other.

    References:
        | Disentangling by Factorising (Kim and Mnih, 2018)
        | https://arxiv.org/abs/1802.05983

    Args:
        gamma: Weight γ of the total correlation.
        discriminator: Network from a latent to the logit of D.
        discriminator_lr: Learning rate of the discriminator, trained by Adam with β₁ = 0.5 and β₂ = 0.9.
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ValueError: If gamma is negative or not finite, or discriminator_lr is not positive and finite, or latents
            are not vectors of independent numbers.
    """

    units = {"tc": "nats, by the discriminator", "discriminator_loss": "nats, ln 2 at chance"}

    min_batch_size = 2

    def __init__(
        self,
        *,
        gamma: float = 10.0,
        discriminator: Network = Discriminator,
        discriminator_lr: float = 1e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not (gamma >= 0 and math.isfinite(gamma)):
            raise ValueError(f"gamma must be at least 0 and finite, got {gamma}.")
        if not (discriminator_lr > 0 and math.isfinite(discriminator_lr)):
            raise ValueError(f"discriminator_lr must be positive and finite, got {discriminator_lr}.")
        support = support_of(self.posterior.at_zeros())
        if support is not None and not is_interval(support):
            name = type(self.posterior).__name__
            raise ValueError(
                f"{type(self).__name__} permutes single dimensions of latents, which those of {name} do not have."
            )
        self.gamma, self.discriminator_lr = gamma, discriminator_lr
        self.discriminator = make("discriminator", discriminator, nn.Module, (self.latent_dim,), (1,))

    def param_groups(self) -> list[dict[str, Any]]:
        own = {"params": list(self.discriminator.parameters()), "lr": self.discriminator_lr, "betas": (0.5, 0.9)}
        return split_off(super().param_groups(), own)

    def routes(self) -> dict[str, dict[str, float]]:
        routes = super().routes()
        others = {**routes.get("", {"loss": 1.0}), "discriminator_loss": -1.0}
        return {**routes, "discriminator": {"discriminator_loss": 1.0}, "": others}

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        tc = self._logits(frozen(self.discriminator), elbo.z).mean()
        z = elbo.z.detach()
        real, permuted = (self._logits(self.discriminator, rows) for rows in (z, permute_dims(z)))
        own = (softplus(-real) + softplus(permuted)).mean() / 2
        values = super().objective(elbo)
        loss = values["loss"] + elbo.annealing * self.gamma * tc + own
        return values | {"loss": loss, "tc": tc, "discriminator_loss": own}

    def _logits(self, discriminator: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        """Logits of D at latents (K, B, D), in their precision; positive for samples of q(z)."""
        rows = as_weights(z.flatten(0, 1), self.discriminator)
        logits = discriminator(rows)
        check_output(logits, len(rows), (1,), "discriminator")
        return logits.to(z.dtype)
