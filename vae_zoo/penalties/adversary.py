"""The log-ratio of the prior to the aggregate posterior, estimated by a discriminator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
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

    With num_classes, T also sees the label of the example, as a one-hot vector with one more class for unknown labels,
    and draws of the prior come with the labels of the batch: the latents of each class are compared with the prior.

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
        num_classes: Number of classes of the labels; None if the adversary sees none.

    Raises:
        ValueError: If weight is negative, lr not positive and finite, or num_classes less than 1.
    """

    units = {"latent_adversary": "nats, ln 2 at chance", "latent_adversary_loss": "nats, 2 ln 2 at chance"}

    def __init__(
        self,
        shape: Shape,
        *,
        weight: float = 1.0,
        discriminator: Network = Discriminator,
        lr: float = 5e-4,
        num_classes: int | None = None,
    ) -> None:
        super().__init__(shape, weight=weight)
        if not (lr > 0 and math.isfinite(lr)):
            raise ValueError(f"lr must be positive and finite, got {lr}.")
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}.")
        self.lr, self.num_classes, self.uses_labels = lr, num_classes, num_classes is not None
        seen = self.shape if num_classes is None else (math.prod(self.shape) + num_classes + 1,)
        self.discriminator: nn.Module = discriminator(seen, (1,))

    def forward(
        self,
        z: Tensor,
        q: Distribution,  # noqa: ARG002
        p: Distribution,  # noqa: ARG002
        c: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return softplus(-self._logits(frozen(self.discriminator), z, c)).mean(), {}

    def own_loss(self, z: Tensor, p: Distribution, c: Tensor | None = None) -> Tensor:
        real, fake = (self._logits(self.discriminator, rows, c) for rows in (draws_like(z, p).detach(), z))
        return softplus(-real).mean() + softplus(fake).mean()

    def param_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters()), "lr": self.lr}]

    def _logits(self, discriminator: Callable[[Tensor], Tensor], z: Tensor, c: Tensor | None) -> Tensor:
        rows = z if self.num_classes is None else torch.cat([z.flatten(1), self._one_hot(z, c, self.num_classes)], 1)
        return discriminator(as_weights(rows, self.discriminator)).to(z.dtype)

    def _one_hot(self, z: Tensor, c: Tensor | None, num_classes: int) -> Tensor:
        """Labels (B,) as rows (B, num_classes + 1), of which the last column is for those that are unknown."""
        labels = torch.full_like(z.flatten(1)[:, 0], -1) if c is None else c
        labels = torch.where(labels < 0, num_classes, labels)
        return (labels[:, None] == torch.arange(num_classes + 1, device=z.device)).to(z.dtype)
