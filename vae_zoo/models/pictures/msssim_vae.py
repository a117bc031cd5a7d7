"""The VAE on structural similarity."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import MSSSIM, Family
from vae_zoo.models.plain.vae import ConvVAE
from vae_zoo.typing import Shape


class MSSSIMVAE(ConvVAE):
    r"""VAE whose reconstructions are scored by multi-scale structural similarity, which is closer to perception.

    .. math:: \mathcal{L} = w D \, (1 - \text{MS-SSIM}(\hat x(z), x)) + \mathrm{KL}(q(z|x) \,\|\, p(z))

    The similarity is not a density: there is neither a bound on log p(x) nor an evidence. D is the number of pixels and
    channels; the weight w is that of :class:`~vae_zoo.distributions.MSSSIM`.

    When to use it:
        If structure matters more than single pixels, and no likelihood is needed. Not for comparison by bounds, nor for
        pictures too small for several scales.

    References:
        | Learning to Generate Images with Perceptual Similarity Metrics (Snell et al., 2017)
        | https://arxiv.org/abs/1511.06409

    Args:
        likelihood: Energy of reconstructions.
        kwargs: Arguments of :class:`ConvVAE`.
    """

    reports = "-"

    def __init__(self, *, likelihood: Callable[[Shape], Family] | None = MSSSIM, **kwargs: Any) -> None:
        super().__init__(likelihood=likelihood, **kwargs)
