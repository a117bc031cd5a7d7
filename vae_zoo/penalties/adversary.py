"""The log-ratio of the prior to the aggregate posterior, estimated by a discriminator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import softplus

from vae_zoo.nn import Discriminator, frozen
from vae_zoo.nn.batching import as_weights
from vae_zoo.penalties.base import Penalty, draws_like
from vae_zoo.typing import Network, Shape


class LatentAdversary(Penalty):
    r"""Adversary that distinguishes latents z from draws y of the prior, and that the encoder tries to deceive.

    .. math:: R = \mathbb{E} \big[ \mathrm{softplus}(-T(z)) \big], \quad
        A = \mathbb{E} \big[ \mathrm{softplus}(-T(y)) \big] + \mathbb{E} \big[ \mathrm{softplus}(T(z)) \big]

    The encoder minimises R and the adversary A. The best T is the logarithm of p(z) / q(z). The encoder's term is the
    non-saturating one, whose gradient does not vanish where the adversary is certain.

    References:
        | Adversarial Autoencoders (Makhzani et al., 2016)
        | https://arxiv.org/abs/1511.05644
        | Wasserstein Auto-Encoders (Tolstikhin et al., 2018)
        | https://arxiv.org/abs/1711.01558

    Args:
        shape: Shape of one latent; supplied by the model.
        weight: Weight of the penalty.
        discriminator: Network T from a latent to a logit, without batch normalisation, whose statistics would be
            those of two kinds of batches.
        lr: Learning rate of the adversary.

    Raises:
        ValueError: If weight is negative, or lr not positive and finite.
    """

    units = {"latent_adversary": "nats, ln 2 at chance", "latent_adversary_loss": "nats, 2 ln 2 at chance"}

    def __init__(
        self, shape: Shape, *, weight: float = 1.0, discriminator: Network = Discriminator, lr: float = 5e-4
    ) -> None:
        super().__init__(shape, weight=weight)
        if not (lr > 0 and math.isfinite(lr)):
            raise ValueError(f"lr must be positive and finite, got {lr}.")
        self.lr = lr
        self.discriminator: nn.Module = discriminator(self.shape, (1,))

    def forward(
        self,
        z: Tensor,
        q: Distribution,  # noqa: ARG002
        p: Distribution,  # noqa: ARG002
        c: Tensor | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return softplus(-self._logits(frozen(self.discriminator), z)).mean(), {}

    def own_loss(self, z: Tensor, p: Distribution) -> Tensor:
        real, fake = (self._logits(self.discriminator, rows) for rows in (draws_like(z, p).detach(), z))
        return softplus(-real).mean() + softplus(fake).mean()

    def param_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters()), "lr": self.lr}]

    def _logits(self, discriminator: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
        return discriminator(as_weights(z, self.discriminator)).to(z.dtype)
