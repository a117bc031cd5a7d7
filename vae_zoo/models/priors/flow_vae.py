"""The VAE with normalising flows as posterior and prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import AutoregressiveFlow, Family, FlowPrior, Prior
from vae_zoo.models.plain.vae import VAE
from vae_zoo.typing import Shape


class FlowVAE(VAE):
    r"""VAE whose posterior and prior are normalising flows.

    .. math:: \mathcal{L}(x) = \mathbb{E}_{\epsilon \sim \mathcal{N}(0, I)} \Big[ \log p(x, g(\epsilon; x))
        - \log \mathcal{N}(\epsilon; 0, I) + \log \Big| \det \frac{\partial g(\epsilon; x)}{\partial \epsilon} \Big|
        \Big]

    The posterior is the inverse autoregressive flow of Kingma et al. (2016, https://arxiv.org/abs/1606.04934), which
    takes one pass for a sample and its density; the prior is a masked one, which takes one pass for a density. Both
    can be replaced. A flow has no mean in closed form: latents of examples are the images of the noise's mean, see
    :class:`~vae_zoo.distributions.Flow`.

    When to use it:
        If both posterior and prior are too simple. If only one is, ``IAFVAE`` or a ``FlowPrior`` with ``VAE`` tells
        which one helped. Latents have no mean in closed form.

    References:
        | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015)
        | https://arxiv.org/abs/1505.05770

    Args:
        posterior: Family of q(z|x).
        prior: Distribution p(z).
        kwargs: Arguments of :class:`VAE`.

    Raises:
        ImportError: If zuko is not installed.
    """

    def __init__(
        self,
        *,
        posterior: Callable[[Shape], Family] = AutoregressiveFlow,
        prior: Callable[[Shape], Prior] = FlowPrior,
        **kwargs: Any,
    ) -> None:
        super().__init__(posterior=posterior, prior=prior, **kwargs)
