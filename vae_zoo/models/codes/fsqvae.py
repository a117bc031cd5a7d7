"""The VQ-VAE with finite scalar quantisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from vae_zoo.models.codes.vqvae import VQVAE
from vae_zoo.nn import FSQ


class FSQVAE(VQVAE):
    r"""VQ-VAE without a codebook: every dimension of the latent is rounded to one of a few levels.

    .. math:: \mathcal{L}(x) = -\log p(x | e) - \log p(s), \quad
        e_i = \frac{\mathrm{round}(h_i \tanh(z_i + s_i) - o_i) + o_i}{(L_i - 1) / 2}

    Only the networks and the prior are learned, and all codes can be reached from the start.

    When to use it:
        In place of ``VQVAE`` if codes die, or as the first of the family to try: there is no codebook to tune. Not if
        code vectors themselves are wanted.

    References:
        | Finite Scalar Quantization: VQ-VAE Made Simple (Mentzer et al., 2024)
        | https://arxiv.org/abs/2309.15505

    Args:
        latent_dim: Number of dimensions.
        levels: Levels of each dimension; by default 8 for the first and 5 for the others.
        kwargs: Arguments of :class:`VQVAE`.

    Raises:
        ValueError: If there is not one number of levels for each dimension, or one is less than 2.
    """

    fixed = {
        "num_codes": "it is the product of the levels",
        "codebook": "its codes are combinations of levels",
        "beta": "rounding leaves nothing to commit to",
    }

    def __init__(self, *, latent_dim: int = 4, levels: Sequence[int] | None = None, **kwargs: Any) -> None:
        levels = (8, *[5] * (latent_dim - 1)) if levels is None else tuple(levels)
        codebook, num_codes = partial(FSQ, levels=levels), math.prod(levels)
        super().__init__(latent_dim=latent_dim, num_codes=num_codes, codebook=codebook, beta=0.0, **kwargs)
