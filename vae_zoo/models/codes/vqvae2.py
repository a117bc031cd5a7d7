"""The VQ-VAE with two levels of codes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vae_zoo.models.base.components import make
from vae_zoo.models.codes.vqvae import VQVAE
from vae_zoo.nn import CodePrior, Dense, EMACodebook, Quantized, Quantizer
from vae_zoo.nn.batching import apply_batched
from vae_zoo.nn.halving import halved
from vae_zoo.typing import Network, Shape


class VQVAE2(VQVAE):
    r"""VQ-VAE with a coarse top and a fine bottom grid of codes, and a prior over each, the bottom's given the top.

    .. math::
        \mathcal{L}(x) = -\log p(x | e_t, e_b) + \sum_{l \in \{t, b\}} R_l - \log p(s_t) - \log p(s_b | s_t)

    .. math:: R_l = \| \mathrm{sg}[z_l] - e_l \|^2 + \beta \| z_l - \mathrm{sg}[e_l] \|^2

    .. math:: z_t = f_t(h), \quad z_b = f_b(h, g(e_t)), \quad h = f(x)

    A network g brings the top's vectors to the size of the bottom grid. The decoder gets both levels, and the bottom's
    prior depends on g(e_t). A latent holds g(e_t) and e_b, and the codes of an example are those of the top followed by
    those of the bottom. Unlike in the paper, the priors are small transformers, trained along with the autoencoder.

    When to use it:
        For larger pictures, with codes for composition and codes for details. For small ones, one grid is enough.

    References:
        | Generating Diverse High-Fidelity Images with VQ-VAE-2 (Razavi et al., 2019)
        | https://arxiv.org/abs/1906.00446

    Args:
        latent_dim: Dimensions of the code vectors of each level.
        grid: Shape of the bottom grid; by default half the height and width of images, and 8 for other data.
        top_grid: Shape of the top grid; by default half the bottom's sides.
        codebook: Class of the codebook of each level.
        code_prior: Distribution over grids of codes of each level.
        encoder: Network from an example to the features h, of the shape of the bottom's latents.
        top_encoder: Network from the features h to the latents of the top.
        top_decoder: Network g from the vectors of the top to the bottom grid.
        bottom_encoder: Network from the features h and g to the latents of the bottom.
        kwargs: Arguments of :class:`VQVAE`.

    Raises:
        ValueError: If a side of a grid is less than 1.
    """

    def __init__(
        self,
        *,
        top_grid: Shape | None = None,
        codebook: Callable[[int, int], Quantizer] = EMACodebook,
        code_prior: Callable[[Shape, int], CodePrior] = CodePrior,
        top_encoder: Network = Dense,
        top_decoder: Network = Dense,
        bottom_encoder: Network = Dense,
        **kwargs: Any,
    ) -> None:
        mro: list[type] = list(type(self).__mro__)
        for name in (cls.__name__ for cls in mro[mro.index(VQVAE2) :]):
            if name in ("GroupedVQVAE", "ResidualVQVAE"):
                raise TypeError(f"VQVAE2 and {name} do not go together in this order: put {name} first.")
        if top_grid is not None and min(top_grid, default=0) < 1:
            raise ValueError(f"the sides of the top grid must be at least 1, got {tuple(top_grid)}.")
        self._top_grid = None if top_grid is None else tuple(top_grid)
        super().__init__(codebook=codebook, code_prior=code_prior, **kwargs)
        top, bottom = (self.latent_dim, *self.top_grid), (self.latent_dim, *self.grid)
        num_codes = self.codebook.num_codes
        self.top_codebook = make("codebook", codebook, Quantizer, num_codes, self.latent_dim)  # type: ignore[type-abstract]
        self.top_prior = self.make_prior(code_prior, self.code_shapes[0])
        self.top_encoder = make("top_encoder", top_encoder, nn.Module, bottom, top)
        self.top_decoder = make("top_decoder", top_decoder, nn.Module, top, bottom)
        self.bottom_encoder = make("bottom_encoder", bottom_encoder, nn.Module, self.latent_shape, bottom)

    @property
    def grid(self) -> Shape:
        """Shape of the bottom grid."""
        fine = self._grid is None and len(self.shape) > 1
        return halved(self.shape[1:]) if fine else super().grid

    @property
    def top_grid(self) -> Shape:
        """Shape of the top grid."""
        return self._top_grid or tuple(max(1, side // 2) for side in self.grid)

    @property
    def latent_shape(self) -> Shape:
        return (2 * self.latent_dim, *self.grid)

    @property
    def encoder_shapes(self) -> tuple[Shape, Shape]:
        return self.likelihood.read_shape, (self.latent_dim, *self.grid)

    @property
    def codes_shape(self) -> Shape:
        return (sum(map(math.prod, self.code_shapes)),)

    @property
    def code_shapes(self) -> tuple[Shape, Shape]:
        """Shapes of the codes of the top and of the bottom."""
        return (*self.top_grid, *self.codebook.code_shape), (*self.grid, *self.codebook.code_shape)

    @property
    def prior_sizes(self) -> tuple[Shape, int]:
        return self.code_shapes[1], self.latent_dim

    @property
    def quantizers(self) -> list[Quantizer]:
        return [self.top_codebook, self.codebook]

    def run_encoder(self, x: Tensor, entries: Tensor | None = None, *, gives: Shape | None = None) -> Tensor:
        return super().run_encoder(x, entries, gives=gives or self.encoder_shapes[1])

    def quantise(self, x: Tensor, *, record: bool = False) -> Quantized:
        h = self._latents(x)
        top = self._quantised(self.top_codebook, self._run("top_encoder", h), record)
        raised = self._run("top_decoder", top.z)
        bottom = self._quantised(self.codebook, self._run("bottom_encoder", torch.cat([h, raised], 1)), record)
        z = torch.cat([raised.to(bottom.z.dtype), bottom.z], 1)
        codes = torch.cat([top.codes.flatten(1), bottom.codes.flatten(1)], 1)
        return Quantized(z, codes, top.codebook_loss + bottom.codebook_loss, top.commitment + bottom.commitment)

    def lookup(self, codes: Tensor) -> Tensor:
        top, bottom = self._levels(codes)
        e = self.codebook.lookup(bottom)
        return torch.cat([self._run("top_decoder", self.top_codebook.lookup(top)).to(e.dtype), e], 1)

    def log_prior(self, codes: Tensor, c: Tensor | None = None) -> Tensor:
        top, bottom = self._levels(codes)
        with torch.no_grad():  # the prior does not influence the codes
            context = self._run("top_decoder", self.top_codebook.lookup(top))
        return self.top_prior.log_prob(top, c) + self.code_prior.log_prob(bottom, c, context)

    @torch.no_grad()
    def draw_codes(self, num: int, c: Tensor | None = None, *, temperature: float = 1.0) -> Tensor:
        top = self.top_prior.sample(num, c, temperature=temperature)
        context = self._run("top_decoder", self.top_codebook.lookup(top))
        bottom = self.code_prior.sample(num, c, context, temperature=temperature)
        return torch.cat([top.flatten(1), bottom.flatten(1)], 1)

    def usage(self, codes: Tensor) -> Tensor:
        top, bottom = self._levels(codes)
        return torch.cat([self.top_codebook.usage(top), self.codebook.usage(bottom)])

    @torch.no_grad()
    def initialise(self, x: Tensor) -> None:
        h = self._latents(x[:1024].to(self.device))
        top = self._run("top_encoder", h)
        self.top_codebook.start(top)
        raised = self._run("top_decoder", self.top_codebook(top).z)
        self.codebook.start(self._run("bottom_encoder", torch.cat([h, raised], 1)))

    def _run(self, name: str, x: Tensor) -> Tensor:
        """Features on a grid by one of the networks between the levels."""
        gives = (self.latent_dim, *(self.top_grid if name == "top_encoder" else self.grid))
        return apply_batched(getattr(self, name), x, x.ndim - 1, gives=gives, name=name)

    def _levels(self, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Codes of the top and of the bottom, in the shapes of their grids."""
        sizes, (top, bottom) = self.code_shapes, codes.tensor_split([math.prod(self.code_shapes[0])], 1)
        return top.unflatten(1, sizes[0]), bottom.unflatten(1, sizes[1])
