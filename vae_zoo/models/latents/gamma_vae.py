"""The VAE with gamma latents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import Family, Gamma, GammaPrior, Prior
from vae_zoo.models.plain.vae import VAE
from vae_zoo.typing import Shape


class GammaVAE(VAE):
    r"""VAE with positive latents: gamma posterior and prior, with the divergence in closed form.

    .. math::
        \mathrm{KL} = \sum_i (\alpha_i - a) \psi(\alpha_i) - \log \Gamma(\alpha_i) + \log \Gamma(a)
        + a (\log \beta_i - \log b) + \alpha_i \frac{b - \beta_i}{\beta_i}

    Samples have torch's implicit gradients; the earlier paper has a rejection sampler with a correction.

    When to use it:
        If latents must be positive, such as intensities. Otherwise the normal one is easier to train and to
        interpolate.

    References:
        | Implicit Reparameterization Gradients (Figurnov et al., 2018)
        | https://arxiv.org/abs/1805.08498
        | Reparameterization Gradients through Acceptance-Rejection Sampling Algorithms (Naesseth et al., 2017)
        | https://arxiv.org/abs/1610.05683

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z); by default Gamma(a = 2, b = 1) in every dimension.
        kwargs: Arguments of :class:`VAE`.
    """

    def __init__(
        self,
        *,
        posterior: Callable[[Shape], Family] = Gamma,
        prior: Callable[[Shape], Prior] = GammaPrior,
        **kwargs: Any,
    ) -> None:
        super().__init__(posterior=posterior, prior=prior, **kwargs)
