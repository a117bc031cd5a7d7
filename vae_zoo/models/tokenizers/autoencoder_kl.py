"""The autoencoder of latent diffusion, with a rate."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.models.objectives.beta_vae import BetaVAE
from vae_zoo.models.tokenizers.judged import Judged, reduced
from vae_zoo.nn import ResidualDecoder, ResidualEncoder
from vae_zoo.typing import Network, Shape


class AutoencoderKL(Judged, BetaVAE):
    r"""VAE with a grid of latents and hardly any rate, whose pictures a discriminator and a trained network judge.

    .. math:: \mathcal{L} = -\mathbb{E}_{q(z|x)}[\log p(x|z)] + \beta \, \mathrm{KL}(q(z|x) \,\|\, p(z))
        + \lambda R_p - a w \, \mathbb{E} \, \bar T(\hat x) + \mathcal{L}_T

    The terms of perception :math:`R_p` and of the discriminator are those of :class:`.Judged`. Bound and evidence are
    those of the VAE: with the small β, which leaves latents for another model to be trained on, they are far from
    the best that it could have.

    When to use it:
        To train a diffusion model or another one on its latents. Not for a good density, and its own prior is no source
        of pictures: the latents hardly follow it.

    References:
        | High-Resolution Image Synthesis with Latent Diffusion Models (Rombach et al., 2022)
        | https://arxiv.org/abs/2112.10752

    Args:
        latent_dim: Channels of the grid of latents.
        factor: Sides of a picture divided by those of the grid: 4, 8 or 16; by default 4 below 64 pixels, and 8 from
            there on.
        beta: Weight β of the rate.
        encoder: Network from a picture to the parameters of the posterior.
        decoder: Network from a grid of latents to the parameters of the likelihood.
        kwargs: Arguments of :class:`.Judged` and :class:`BetaVAE`.

    Raises:
        ValueError: If factor is not a power of 2, or pictures are too small for it.
    """

    apart = {
        "DFCVAE": "both compare pictures in the features of a network",
        **dict.fromkeys(
            ("HamiltonianVAE", "RHVAE", "LadderVAE", "TwoLevelVAE", "TwoStageVAE"), "its latents are grids, not vectors"
        ),
    }

    def __init__(
        self,
        *,
        latent_dim: int = 4,
        factor: int | None = None,
        beta: float = 1e-6,
        encoder: Network = ResidualEncoder,
        decoder: Network = ResidualDecoder,
        **kwargs: Any,
    ) -> None:
        self._factor = factor  # the networks' shapes follow from it
        super().__init__(latent_dim=latent_dim, beta=beta, encoder=encoder, decoder=decoder, **kwargs)

    @property
    def latent_shape(self) -> Shape:
        return (self.latent_dim, *reduced(self.shape, self._factor))

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        assert elbo.x is not None
        px = self.decode(elbo.z, elbo.c) if elbo.px is None else elbo.px
        return self.judged(super().objective(elbo), elbo.x, px, -elbo.log_px.mean())

    def routes(self) -> dict[str, dict[str, float]]:
        if self.discriminator is None or self.penalties:
            return super().routes()
        own = {"autoencoder_loss": 1.0, **self.deceiving}
        return {**super().routes(), "": own, "discriminator": {"discriminator_loss": 1.0}}
