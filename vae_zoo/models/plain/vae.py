"""The variational autoencoder, with dense or convolutional networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import DiagonalNormal, Family, Prior, StandardNormal, check_pair
from vae_zoo.distributions.supports import can_move, support_of
from vae_zoo.elbo import ELBO, ELBOMixin
from vae_zoo.models.base.components import make
from vae_zoo.models.base.penalised import Penalised
from vae_zoo.nn import ConvDecoder, ConvEncoder
from vae_zoo.training.steps import check_values
from vae_zoo.typing import Network, Shape


class VAE(Penalised, ELBOMixin):
    r"""Variational autoencoder.

    .. math:: \mathcal{L}(x) = \mathbb{E}_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x) \,\|\, p(z))

    When to use it:
        The first model to fit, and the one that the others are measured against. Where samples must be better, change
        the prior next; where the density must be better, the bound or the posterior.

    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2014)
        | https://arxiv.org/abs/1312.6114

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z).
        num_samples: Samples K of the posterior in the objective.
        free_bits: Nats per latent dimension below which the rate costs nothing; see :meth:`~vae_zoo.elbo.ELBO.floored`.
        kwargs: Arguments of :class:`Penalised`.

    Raises:
        ValueError: If num_samples is less than 1, free_bits is negative or not finite, or posterior and prior cannot be
            combined.
    """

    reports = "E"
    monitor = "val/elbo"
    monitor_mode = "max"

    uses_weights: bool = False
    """Whether the objective weights samples by their densities, which relaxed samples do not follow."""

    kl_weight: Tensor | None = None
    """Weight of the divergence, set at every step by an annealing callback."""

    own_schedule: str = ""
    """The model's own schedule of the divergence, if any, with which an annealing callback would conflict."""

    def __init__(
        self,
        *,
        posterior: Callable[[Shape], Family] = DiagonalNormal,
        prior: Callable[[Shape], Prior] = StandardNormal,
        num_samples: int = 1,
        free_bits: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(posterior=posterior, **kwargs)
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
        if not (free_bits >= 0 and math.isfinite(free_bits)):
            raise ValueError(f"free_bits must be at least 0 and finite, got {free_bits}.")
        self.num_samples, self.free_bits = num_samples, free_bits
        self.continuous = type(self).continuous and can_move(support_of(self.posterior.at_zeros()))
        self.latent_prior = make("prior", prior, Prior, self.encoded_shape)  # type: ignore[type-abstract]
        self.check_prior()
        self.check_weights()

    def check_prior(self) -> None:
        """Refuse a posterior and a prior that do not make a bound; called once the components have been made.

        Raises:
            ValueError: If their events, supports or penalties do not fit together.
        """
        check_pair(self.posterior, self.latent_prior)
        self.check_penalties(self.latent_prior)

    def check_weights(self) -> None:
        """Refuse relaxed samples if the objective weights them by densities.

        Raises:
            ValueError: With both.
        """
        if self.uses_weights and not self.posterior.weights_valid:
            raise ValueError(
                f"{type(self).__name__} weights samples by their densities, and those of "
                f"{type(self.posterior).__name__} are relaxed in training and follow others: take VAE."
            )

    def prior(self, c: Tensor | None = None) -> Distribution:
        return self.latent_prior(c)

    @property
    def num_draws(self) -> int:
        """Samples of the posterior of an example in each step."""
        return self.num_samples

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        elbo, name = self.elbo(x, c, self.num_draws), type(self).__name__
        if not isinstance(elbo, ELBO):
            raise ValueError(f"{name}.elbo must give an ELBO, gave a {type(elbo).__name__}.")
        elbo.check(len(x))
        seen = elbo.floored(self.free_bits) if self.free_bits else elbo
        objective = self.objective(seen if self.kl_weight is None else seen.annealed(self.kl_weight))
        check_values(objective, f"{name}.objective")
        if self.penalties:
            annealing = 1.0 if self.kl_weight is None else self.kl_weight
            objective = self.penalised(objective, elbo.z[0], elbo.q, elbo.p, annealing, c)
        terms = {"elbo": elbo.value, "reconstruction": elbo.log_px, "kl": elbo.kl, **elbo.curves}
        return objective | {name: term.mean() for name, term in terms.items()}


class MLPVAE(VAE):
    """Variational autoencoder with dense networks, for examples of any shape.

    When to use it:
        For vectors and small images. Larger images, sequences and volumes are better served by ``ConvVAE``, whose
        weights are shared between places.

    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2014)
        | https://arxiv.org/abs/1312.6114

    Args:
        kwargs: Arguments of :class:`VAE`.
    """


class ConvVAE(VAE):
    """Variational autoencoder with convolutional networks, for images, sequences and volumes of any size.

    When to use it:
        For images, sequences and volumes. Not for vectors whose entries have no neighbours, such as columns of a table:
        take ``MLPVAE`` or ``TVAE``.

    References:
        | Auto-Encoding Variational Bayes (Kingma and Welling, 2014)
        | https://arxiv.org/abs/1312.6114

    Args:
        encoder: Network from an image to the parameters of the posterior.
        decoder: Network from a latent to the parameters of the likelihood.
        kwargs: Arguments of :class:`VAE`.
    """

    def __init__(self, *, encoder: Network = ConvEncoder, decoder: Network = ConvDecoder, **kwargs: Any) -> None:
        super().__init__(encoder=encoder, decoder=decoder, **kwargs)
