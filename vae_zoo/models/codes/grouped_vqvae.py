"""The VQ-VAE with product quantisation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vae_zoo.models.codes.vqvae import VQVAE
from vae_zoo.nn import EMACodebook, GroupedQuantizer, Quantizer


class GroupedVQVAE(VQVAE):
    r"""VQ-VAE whose latent is divided into groups of dimensions, each with a code of its own.

    .. math:: e = (e_1, \dots, e_G), \quad e_g \text{ nearest to } z_g

    G codebooks of K vectors have K^G combinations at each place.

    When to use it:
        For more combinations from small codebooks at the same number of places. A prior has to learn a sequence of
        codes that is longer by the factor G.

    References:
        | Product Quantization for Nearest Neighbor Search (Jégou et al., 2011)
        | https://doi.org/10.1109/TPAMI.2010.57

    Args:
        groups: Number of groups.
        codebook: Class of the quantizer of each group.
        kwargs: Arguments of :class:`VQVAE`.
    """

    def __init__(
        self, *, groups: int = 2, codebook: Callable[[int, int], Quantizer] = EMACodebook, **kwargs: Any
    ) -> None:
        super().__init__(codebook=partial(GroupedQuantizer, groups=groups, codebook=codebook), **kwargs)
