"""The VAE with an inverse autoregressive flow as posterior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import Prior, StandardNormal
from vae_zoo.models.priors.flow_vae import FlowVAE
from vae_zoo.typing import Shape


class IAFVAE(FlowVAE):
    """VAE whose posterior is an inverse autoregressive flow and whose prior is the standard normal distribution.

    The paper's flows are those of each layer of a deep ladder network; here there is one layer.

    When to use it:
        For a posterior with dependent dimensions and a plain prior. On small data the plain posterior is often enough;
        compare the gaps of ``vae_zoo.evaluation`` before.

    References:
        | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016)
        | https://arxiv.org/abs/1606.04934

    Args:
        prior: Distribution p(z).
        kwargs: Arguments of :class:`FlowVAE`.
    """

    def __init__(self, *, prior: Callable[[Shape], Prior] = StandardNormal, **kwargs: Any) -> None:
        super().__init__(prior=prior, **kwargs)
