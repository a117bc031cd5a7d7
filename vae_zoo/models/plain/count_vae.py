"""The VAE of counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import CellCounts, Family
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import CountDecoder, LogDense
from vae_zoo.typing import Network, Shape


class CountVAE(VAE):
    """VAE of counts of genes in cells, with the sizes, input and likelihood of scVI.

    The library size ℓ is observed, as in scvi-tools, where the paper infers it: bounds are on log p(x|ℓ).

    When to use it:
        For counts whose totals differ between examples, such as genes in cells. For other counts, take ``VAE`` with the
        likelihood ``Poisson`` or ``NegativeBinomial``.

    References:
        | Deep Generative Modeling for Single-Cell Transcriptomics (Lopez et al., 2018)
        | https://doi.org/10.1038/s41592-018-0229-2

    Args:
        latent_dim: Number of latent dimensions.
        encoder: Network from counts to the parameters of the posterior.
        decoder: Network from a latent to the parameters of the likelihood.
        likelihood: Family of p(x|z).
        kwargs: Arguments of :class:`VAE`.
    """

    def __init__(
        self,
        *,
        latent_dim: int = 10,
        encoder: Network = LogDense,
        decoder: Network = CountDecoder,
        likelihood: Callable[[Shape], Family] | None = CellCounts,
        **kwargs: Any,
    ) -> None:
        super().__init__(latent_dim=latent_dim, encoder=encoder, decoder=decoder, likelihood=likelihood, **kwargs)
