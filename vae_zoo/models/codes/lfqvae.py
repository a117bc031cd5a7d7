"""The VQ-VAE with lookup-free quantisation."""

from __future__ import annotations

from functools import partial
from typing import Any

from vae_zoo.models.codes.vqvae import VQVAE
from vae_zoo.nn import BSQ, LFQ


class LFQVAE(VQVAE):
    r"""VQ-VAE whose codes are the signs of the latent, with entropies in place of a codebook to learn.

    .. math::
        \mathcal{L}(x) = -\log p(x | e) + \beta \| z - \mathrm{sg}[e] \|^2
        + w \, P \, \big( \mathbb{E}[H(p(e|z))] - \gamma H(\mathbb{E}[p(e|z)]) \big) - \log p(s), \quad
        e = \mathrm{sign}(z)

    The entropies favour latents that are certain about their bits, and equal use of all codes; P is the number of
    places.

    When to use it:
        For very many codes, each a string of bits. With few codes, ``FSQVAE`` has fewer weights to set.

    References:
        | Language Model Beats Diffusion: Tokenizer is Key to Visual Generation (Yu et al., 2024)
        | https://arxiv.org/abs/2310.05737

    Args:
        latent_dim: Number of bits of a code.
        entropy_weight: Weight w of the entropies.
        gamma: Weight γ of the entropy of the batch, relative to that of the latents.
        spherical: Whether latents are projected to the unit sphere first: BSQ (Zhao et al., 2024).
        kwargs: Arguments of :class:`VQVAE`.
    """

    fixed = {"num_codes": "it is 2 to the power of latent_dim", "codebook": "its codes are signs"}

    def __init__(
        self,
        *,
        latent_dim: int = 8,
        entropy_weight: float = 0.1,
        gamma: float = 1.0,
        spherical: bool = False,
        **kwargs: Any,
    ) -> None:
        codebook = partial(BSQ if spherical else LFQ, entropy_weight=entropy_weight, gamma=gamma)
        super().__init__(latent_dim=latent_dim, num_codes=2 ** max(latent_dim, 0), codebook=codebook, **kwargs)
