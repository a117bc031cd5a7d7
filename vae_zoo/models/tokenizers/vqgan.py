"""The VQGAN."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.models.codes.vqvae import VQVAE
from vae_zoo.models.tokenizers.judged import Judged, reduced
from vae_zoo.nn import Quantized, ResidualDecoder, ResidualEncoder
from vae_zoo.typing import Network, Shape


class VQGAN(Judged, VQVAE):
    r"""VQ-VAE whose pictures a discriminator and a trained network judge.

    .. math:: \mathcal{L} = \mathcal{L}_{VQ} + \lambda R_p - a w \, \mathbb{E} \, \bar T(\hat x) + \mathcal{L}_T

    The terms of perception :math:`R_p` and of the discriminator are those of :class:`.Judged`. Any quantizer may be
    the codebook, such as ``FSQ`` or ``LFQ``.

    When to use it:
        To train a transformer on its codes. Where textures need not be sharp, ``VQVAE`` does without the game and its
        weights.

    References:
        | Taming Transformers for High-Resolution Image Synthesis (Esser et al., 2021)
        | https://arxiv.org/abs/2012.09841

    Args:
        factor: Sides of a picture divided by those of the grid of codes, unless grid is given: 4, 8 or 16; by default 4
            below 64 pixels, and 8 from there on.
        encoder: Network from a picture to the latents.
        decoder: Network from code vectors to the parameters of the likelihood.
        kwargs: Arguments of :class:`.Judged` and :class:`VQVAE`.

    Raises:
        ValueError: If factor is not a power of 2, or pictures are too small for it.
    """

    apart = {"VQVAE2": "its two grids have decoders of their own"}

    def __init__(
        self,
        *,
        factor: int | None = None,
        encoder: Network = ResidualEncoder,
        decoder: Network = ResidualDecoder,
        **kwargs: Any,
    ) -> None:
        self._factor = factor  # the networks' shapes follow from it
        super().__init__(encoder=encoder, decoder=decoder, **kwargs)

    @property
    def grid(self) -> Shape:
        return super().grid if self._grid is not None or len(self.shape) == 1 else reduced(self.shape, self._factor)

    def terms(self, found: Quantized, px: Distribution, x: Tensor, c: Tensor | None) -> dict[str, Tensor]:
        values = super().terms(found, px, x, c)
        return self.judged(values, x, px, -values["reconstruction"])

    def routes(self) -> dict[str, dict[str, float]]:
        own = {} if self.features is None else {"perceptual": self.perceptual_weight}
        routes = {
            "encoder": {"autoencoder_loss": 1.0, "kl": -1.0, **self.deceiving},
            "decoder": {"reconstruction": -1.0, **own, **self.deceiving},
            **({} if self.discriminator is None else {"discriminator": {"discriminator_loss": 1.0}}),
        }
        return {**super().routes(), **routes}
