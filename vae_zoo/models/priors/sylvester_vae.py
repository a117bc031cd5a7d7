"""The VAE with a Sylvester flow as posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import Family, Prior, StandardNormal, SylvesterFlow
from vae_zoo.models.priors.flow_vae import FlowVAE
from vae_zoo.typing import Shape


class SylvesterVAE(FlowVAE):
    """VAE whose posterior is a Sylvester flow and whose prior is the standard normal distribution.

    Its orthonormal matrices are products of Householder reflections, the paper's H-SNF; see
    :class:`~vae_zoo.distributions.SylvesterFlow`.

    When to use it:
        For a posterior with dependent dimensions whose parameters all come from the encoder. With many latents and
        steps the encoder's last layer grows large; ``IAFVAE`` shares its networks between examples.

    References:
        | Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018)
        | https://arxiv.org/abs/1803.05649

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z).
        kwargs: Arguments of :class:`FlowVAE`.
    """

    def __init__(
        self,
        *,
        posterior: Callable[[Shape], Family] = SylvesterFlow,
        prior: Callable[[Shape], Prior] = StandardNormal,
        **kwargs: Any,
    ) -> None:
        super().__init__(posterior=posterior, prior=prior, **kwargs)
