"""The adversarial autoencoder, and the Wasserstein autoencoder with an adversary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vae_zoo.distributions import Family, SquaredError
from vae_zoo.models.plain.prior_ae import PriorAE
from vae_zoo.nn import Discriminator
from vae_zoo.penalties import LatentAdversary, Penalty
from vae_zoo.typing import Network, Shape


class AAE(PriorAE):
    r"""Autoencoder whose latents an adversary cannot tell from draws of the prior.

    .. math:: \mathcal{L} = -\log p(x \,|\, f(x)) + \lambda \, \mathrm{softplus}(-T(f(x)))

    The adversary T is trained on a further term of the same scalar, with latents held fixed, whereas the paper
    alternates: see :class:`~vae_zoo.penalties.LatentAdversary`.

    When to use it:
        If a discriminator rather than a kernel is to compare latents and prior, which it needs draws of only. Not for
        short training: a game takes its time.

    References:
        | Adversarial Autoencoders (Makhzani et al., 2016)
        | https://arxiv.org/abs/1511.05644

    Args:
        weight: Weight λ of the adversary in the encoder's objective, in terms of the reconstruction's. If samples do
            not look like data while reconstructions do, the adversary may have won: try less rather than more.
        discriminator: Network T from a latent to a logit.
        discriminator_lr: Learning rate of the adversary.
        penalties: Further penalties.
        kwargs: Arguments of :class:`PriorAE`.
    """

    def __init__(
        self,
        *,
        weight: float = 1.0,
        discriminator: Network = Discriminator,
        discriminator_lr: float = 5e-4,
        penalties: Sequence[Callable[[Shape], Penalty]] = (),
        **kwargs: Any,
    ) -> None:
        adversary = partial(LatentAdversary, weight=weight, discriminator=discriminator, lr=discriminator_lr)
        super().__init__(penalties=[adversary, *penalties], **kwargs)


class WAEGAN(AAE):
    r"""AAE on the squared error: the Wasserstein autoencoder with an adversary on its latents.

    .. math:: \mathcal{L} = \| x - \hat x \|^2 + \lambda \, \mathrm{softplus}(-T(f(x)))

    When to use it:
        As ``WAE``, if there are too many latents for a kernel. The adversary needs longer training and its own learning
        rate.

    References:
        | Wasserstein Auto-Encoders (Tolstikhin et al., 2018)
        | https://arxiv.org/abs/1711.01558

    Args:
        likelihood: Family of p(x|z).
        kwargs: Arguments of :class:`AAE`.
    """

    def __init__(self, *, likelihood: Callable[[Shape], Family] | None = SquaredError, **kwargs: Any) -> None:
        super().__init__(likelihood=likelihood, **kwargs)
