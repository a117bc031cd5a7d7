"""The Poincaré variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import Family, Prior, WrappedNormal, WrappedNormalPrior
from vae_zoo.models.plain.vae import VAE
from vae_zoo.typing import Shape


class PoincareVAE(VAE):
    r"""VAE whose latents are points of the Poincaré ball, where volume grows exponentially with distance, as in a tree.

    .. math:: \mathcal{L}(x) = \mathbb{E}_{q(z|x)}[\log p(x|z) + \log p(z) - \log q(z|x)], \quad c \|z\|^2 < 1

    Both densities are with respect to the volume of the ball. ``RiemannianNormal`` with ``RiemannianNormalPrior`` are
    the alternative to wrapped normal distributions, and the first layer of a decoder can be distances from geodesic
    planes, :class:`~vae_zoo.nn.GyroplaneDense`. All have a ``curvature``, which must be the same for posterior and
    prior.

    When to use it:
        If the data are a tree or another hierarchy and latents are few. For pictures without one, a flat space does as
        well.

    References:
        | Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders (Mathieu et al., 2019)
        | https://arxiv.org/abs/1901.06033

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z).
        kwargs: Arguments of :class:`VAE`.
    """

    def __init__(
        self,
        *,
        posterior: Callable[[Shape], Family] = WrappedNormal,
        prior: Callable[[Shape], Prior] = WrappedNormalPrior,
        **kwargs: Any,
    ) -> None:
        super().__init__(posterior=posterior, prior=prior, **kwargs)
