"""The VQ-VAE with residual quantisation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from vae_zoo.models.codes.vqvae import VQVAE
from vae_zoo.nn import EMACodebook, Quantizer, ResidualQuantizer


class ResidualVQVAE(VQVAE):
    r"""VQ-VAE with several codes at each place, from coarse to fine: RQ-VAE.

    .. math::
        \mathcal{L}(x) = -\log p(x | e) + \beta \sum_q \| r_q - \mathrm{sg}[e_q] \|^2 - \log p(s), \quad
        r_{q+1} = r_q - e_q, \quad e = \sum_q e_q

    The prior draws the codes of a place one after the other, before the next place. The
    dropout of levels and the decay of the norms of their vectors are those of HRQ-VAE (Hosking et al., 2022), in which
    codes are relaxed instead of quantised.

    When to use it:
        For fine reconstructions from small codebooks, and for a rate that can be cut off level by level. A prior has to
        learn a sequence of codes that is longer by the factor ``depth``.

    References:
        | Autoregressive Image Generation using Residual Quantization (Lee et al., 2022)
        | https://arxiv.org/abs/2203.01941
        | Hierarchical Sketch Induction for Paraphrase Generation (Hosking et al., 2022)
        | https://arxiv.org/abs/2203.03463

    Args:
        depth: Number of codes at each place.
        codebook: Class of the codebook of each level.
        shared: Whether all levels share one codebook.
        dropout: Probability that a training example is decoded from a random number of levels.
        norm_decay: Factor of the penalty on norms that do not fall from level to level; 0 for none.
        kwargs: Arguments of :class:`VQVAE`.
    """

    def __init__(
        self,
        *,
        depth: int = 4,
        codebook: Callable[[int, int], Quantizer] = EMACodebook,
        shared: bool = False,
        dropout: float = 0.0,
        norm_decay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        settings: dict[str, Any] = {"shared": shared, "dropout": dropout, "norm_decay": norm_decay}
        quantizer = partial(ResidualQuantizer, depth=depth, codebook=codebook, **settings)
        super().__init__(codebook=quantizer, **kwargs)
