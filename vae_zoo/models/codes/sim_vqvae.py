"""The VQ-VAE whose codebook is learned through one matrix."""

from __future__ import annotations

from functools import partial
from typing import Any

from vae_zoo.models.codes.vqvae import VQVAE
from vae_zoo.nn import SimVQ
from vae_zoo.nn.quantizers.gradients import Gradient


class SimVQVAE(VQVAE):
    r"""VQ-VAE whose code vectors are random, fixed and mapped by one learned matrix: SimVQ.

    .. math:: e_k = W c_k + b, \quad c_k \sim \mathcal{N}(0, I)

    Every step moves all vectors, so that large codebooks do not collapse to a few codes in use.

    When to use it:
        For large codebooks that would otherwise die. For small ones ``VQVAE`` with ``EMACodebook`` is enough.

    References:
        | Addressing Representation Collapse in Vector Quantized Models with One Linear Layer (Zhu et al., 2024)
        | https://arxiv.org/abs/2411.02038

    Args:
        gradient: Gradient of the latents: unchanged (``straight``) or rotated (``rotation``).
        kwargs: Arguments of :class:`VQVAE`.
    """

    fixed = {"codebook": "it is SimVQ"}

    def __init__(self, *, gradient: Gradient = "straight", **kwargs: Any) -> None:
        super().__init__(codebook=partial(SimVQ, gradient=gradient), **kwargs)
