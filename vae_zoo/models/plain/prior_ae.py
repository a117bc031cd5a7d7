"""The autoencoder with a prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import Prior, StandardNormal, check_latents, check_prior, score
from vae_zoo.elbo import Generative
from vae_zoo.models.base.components import check_point, make
from vae_zoo.models.base.penalised import Penalised
from vae_zoo.typing import Shape


class PriorAE(Penalised, Generative):
    r"""Autoencoder with a deterministic encoder f, whose latents are made to match a prior by penalties.

    .. math:: \mathcal{L}(x) = -\log p(x \,|\, f(x)) + \sum_i \lambda_i R_i(f(x), p)

    A point has no density, so there is no bound; log p(x) of prior and decoder is estimated by annealed importance
    sampling. Without penalties this is the autoencoder, and random latents decode to nothing in particular.

    When to use it:
        As the base of an autoencoder with ``penalties`` of your own. Not without any: nothing draws its latents to the
        prior then.

    References:
        | Wasserstein Auto-Encoders (Tolstikhin et al., 2018)
        | https://arxiv.org/abs/1711.01558

    Args:
        prior: Distribution p(z).
        kwargs: Arguments of :class:`Penalised`.

    Raises:
        ValueError: If the posterior has a density, which would have no effect, or prior and latents differ in shape.
    """

    reports = "A"

    def __init__(self, *, prior: Callable[[Shape], Prior] = StandardNormal, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_point(self)
        self.latent_prior = make("prior", prior, Prior, self.latent_shape)  # type: ignore[type-abstract]
        check_prior(self.latent_prior, self.latent_shape)
        self.check_penalties(self.latent_prior)

    def prior(self, c: Tensor | None = None) -> Distribution:
        return self.latent_prior(c)

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        q, p = self.encode(x, c), self.prior(c)
        check_latents(q, p, len(x))
        log_px = score(self.decode(q.mean, c), x, x.shape[:1]).mean()
        return self.penalised({"loss": -log_px, "reconstruction": log_px}, q.mean, q, p, c=c)
