"""The variational autoencoder of tables."""

from __future__ import annotations

from typing import Any

from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Narrow
from vae_zoo.typing import Network


class TVAE(VAE):
    r"""VAE of the rows of tables, with the networks of the paper.

    .. math:: \mathcal{L}(x) = \mathbb{E}_{q(z|x)} \Big[ \sum_j \log p(x_j|z) \Big] - \mathrm{KL}(q(z|x) \,\|\, p(z))

    The likelihood of a :class:`~vae_zoo.data.Table` is :class:`~vae_zoo.distributions.Columns`, with a learned σ for
    each number as in the paper. A number is one normal value and not a mode and a place in it, so that the density is
    that of the row; the usual code counts the reconstruction twice, so that its loss is no bound, and holds out no
    rows.

    When to use it:
        For tables of several kinds of columns: synthetic rows, imputation, scores of unusual rows. It promises no
        privacy; ``vae-zoo quality`` measures how close its rows come to real ones.

    References:
        | Modeling Tabular Data using Conditional GAN (Xu et al., 2019)
        | https://arxiv.org/abs/1907.00503

    Args:
        latent_dim: Number of latent dimensions.
        encoder: Network from a row to the parameters of the posterior.
        decoder: Network from a latent to the parameters of the likelihood.
        kwargs: Arguments of :class:`VAE`.
    """

    def __init__(
        self,
        *,
        latent_dim: int = 128,
        encoder: Network = Narrow,
        decoder: Network = Narrow,
        **kwargs: Any,
    ) -> None:
        super().__init__(latent_dim=latent_dim, encoder=encoder, decoder=decoder, **kwargs)
