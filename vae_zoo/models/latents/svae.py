"""The hyperspherical variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import Family, Prior, UniformSphere, VonMisesFisher
from vae_zoo.models.plain.vae import VAE
from vae_zoo.typing import Shape


class SVAE(VAE):
    r"""VAE whose latents are points on a sphere, with a uniform prior.

    .. math:: \mathcal{L}(x) = \mathbb{E}_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(\mathrm{vMF}(\mu, \kappa) \,\|\,
        \mathcal{U}(S^{m-1})), \quad \|z\| = 1

    The divergence depends only on the concentration κ, and does not pull mean directions anywhere. Its closed form and
    the samples have exact derivatives; the authors' code draws by rejection and leaves out a term of the derivative.
    A ``latent_dim`` of m gives the sphere of m - 1 dimensions, which is the number in papers: 3 for the usual sphere.

    When to use it:
        If directions matter and there is no preferred centre, in few dimensions. In many dimensions a normal latent is
        close to a sphere anyway.

    References:
        | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018)
        | https://arxiv.org/abs/1804.00891

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z).
        kwargs: Arguments of :class:`VAE`; ``latent_dim`` must be at least 2.
    """

    def __init__(
        self,
        *,
        posterior: Callable[[Shape], Family] = VonMisesFisher,
        prior: Callable[[Shape], Prior] = UniformSphere,
        **kwargs: Any,
    ) -> None:
        super().__init__(posterior=posterior, prior=prior, **kwargs)
