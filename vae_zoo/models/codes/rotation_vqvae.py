"""The VQ-VAE with the rotation trick."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vae_zoo.models.codes.vqvae import VQVAE
from vae_zoo.nn import EMACodebook, Quantizer


class RotationVQVAE(VQVAE):
    r"""VQ-VAE that rotates and scales the gradient on its way from code vectors to latents: the rotation trick.

    .. math:: e = \mathrm{sg}\Big[\frac{\|e\|}{\|z\|} R\Big] z, \quad R \frac{z}{\|z\|} = \frac{e}{\|e\|}

    Unlike the straight-through gradient, it depends on where a latent lies in the region of its code.

    When to use it:
        If the straight-through gradient leaves codes unused or errors large. It changes the gradient alone, so it costs
        nothing in evaluation.

    References:
        | Restructuring Vector Quantization with the Rotation Trick (Fifty et al., 2025)
        | https://arxiv.org/abs/2410.06424

    Args:
        codebook: Class of the codebook; it needs an argument ``gradient``.
        kwargs: Arguments of :class:`VQVAE`.
    """

    def __init__(self, *, codebook: Callable[[int, int], Quantizer] = EMACodebook, **kwargs: Any) -> None:
        turned = partial(codebook, gradient="rotation")  # type: ignore[call-arg]
        super().__init__(codebook=turned, **kwargs)
