"""The VAE with a planar flow as posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import Family, PlanarFlow, Prior, StandardNormal
from vae_zoo.models.priors.flow_vae import FlowVAE
from vae_zoo.typing import Shape


class PlanarVAE(FlowVAE):
    """VAE whose posterior is a planar flow and whose prior is the standard normal distribution.

    The encoder outputs the parameters of every step, see :class:`~vae_zoo.distributions.PlanarFlow`.

    When to use it:
        For a posterior slightly beyond the normal, in few dimensions: a step bends along one direction only. In many
        dimensions, take ``SylvesterVAE`` or ``IAFVAE``.

    References:
        | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015)
        | https://arxiv.org/abs/1505.05770

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z).
        kwargs: Arguments of :class:`FlowVAE`.
    """

    def __init__(
        self,
        *,
        posterior: Callable[[Shape], Family] = PlanarFlow,
        prior: Callable[[Shape], Prior] = StandardNormal,
        **kwargs: Any,
    ) -> None:
        super().__init__(posterior=posterior, prior=prior, **kwargs)
