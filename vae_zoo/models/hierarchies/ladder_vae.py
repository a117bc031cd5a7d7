"""The ladder variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn.functional import leaky_relu

from vae_zoo.distributions import DiagonalNormal, Hierarchical, StandardNormal, combine, joined, kl_of_layers
from vae_zoo.models.base.components import make
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Dense
from vae_zoo.nn.batching import apply_batched
from vae_zoo.typing import Network, Shape

_DEFAULT = 16


class LadderVAE(VAE):
    r"""VAE with any number of layers of latents, whose posterior corrects the generative model layer by layer.

    .. math::
        \mathcal{L}(x) = \mathbb{E}_{q(z|x)} \Big[ \log p(x|z_1) - \sum_{l=1}^{L}
        \mathrm{KL}(q(z_l | z_{l+1}, x) \,\|\, p(z_l | z_{l+1})) \Big], \quad
        q(z_l | z_{l+1}, x) \propto \hat q(z_l | x) \, p(z_l | z_{l+1})

    A deterministic pass upwards gives each layer a normal distribution :math:`\hat q(z_l|x)`; on the way down it is
    combined with the generative layer's normal distribution by precision. The prior of the top layer is the standard
    normal distribution, and a latent z contains all layers, the lowest first. The paper's warm-up, without which upper
    layers are hardly used, is the callback ``LinearAnnealing``. Unlike the paper, there is no batch normalisation: the
    bound of an example must not depend on the others in its batch.

    When to use it:
        For a hierarchy of vectors, with an annealed rate. For pictures, take ``VDVAE`` or ``NVAE``, whose layers are
        maps.

    References:
        | Ladder Variational Autoencoders (Sønderby et al., 2016)
        | https://arxiv.org/abs/1602.02282

    Args:
        latent_dim: Number of latent dimensions of all layers together, if ``latent_dims`` is not given.
        latent_dims: Dimensions of each layer, the lowest first; by default two layers, the upper with a third of them.
        width: Number of deterministic features of each layer of the upward pass.
        layer: Network from the features of a layer to those of the next, and from a latent to the prior of the one
            below.
        kwargs: Arguments of :class:`VAE` except ``posterior`` and ``prior``, which are normal here.

    Raises:
        ValueError: If latent_dims is empty or does not add up to latent_dim, or a dimension or width is less than 1.
    """

    fixed = dict.fromkeys(("posterior", "prior"), "every layer of its latents is normal")

    apart = {"BetaTCVAE": "the dimensions of its posterior are not independent, which the parts of the rate need"}

    def __init__(
        self,
        *,
        latent_dim: int = _DEFAULT,
        latent_dims: Sequence[int] | None = None,
        width: int = 128,
        layer: Network = Dense,
        **kwargs: Any,
    ) -> None:
        upper = latent_dim // 3
        dims = list(latent_dims or [latent_dim - upper, upper][: 1 + (upper > 0)])
        if (latent_dims is not None and (not latent_dims or min(latent_dims) < 1)) or width < 1:
            raise ValueError(f"latent_dims and width must be at least 1, got {latent_dims} and {width}.")
        if latent_dim not in (sum(dims), _DEFAULT):
            raise ValueError(f"latent_dim is {latent_dim}, but latent_dims add up to {sum(dims)}: give one of the two.")
        self.latent_dims, self.width = dims, width  # the networks' shapes follow from them
        super().__init__(latent_dim=sum(dims), posterior=DiagonalNormal, prior=StandardNormal, **kwargs)
        self.latent_prior = StandardNormal((dims[-1],))
        self.families = nn.ModuleList(DiagonalNormal((dim,)) for dim in dims)
        self.up = nn.ModuleList(make("layer", layer, nn.Module, (width,), (width,)) for _ in dims[1:])
        self.heads = nn.ModuleList(Dense((width,), (2, dim), hidden=()) for dim in dims)
        pairs = pairwise(dims)
        self.down = nn.ModuleList(make("layer", layer, nn.Module, (above,), (2, dim)) for dim, above in pairs)

    @property
    def encoder_shapes(self) -> tuple[Shape, Shape]:
        return self.likelihood.read_shape, (self.width,)

    @property
    def decoder_shapes(self) -> tuple[Shape, Shape]:
        return (self.latent_dims[0],), self.likelihood.param_shape

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        upward = self.bottom_up(x)
        below = [partial(self.corrected, n, upward[n]) for n in range(len(self.down))]
        return Hierarchical(upward[-1], below, self.latent_dims)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return super().decode(z[..., : self.latent_dims[0]], c)

    def prior(self, c: Tensor | None = None) -> Distribution:
        below = [partial(self.generative, n) for n in range(len(self.down))]
        return Hierarchical(self.latent_prior(c), below, self.latent_dims)

    def divergence(self, q: Any, p: Any, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        rates = kl_of_layers(q, p, z)
        return joined(rates, self.latent_dims), {f"kl_{n + 1}": rate.sum(1) for n, rate in enumerate(rates)}

    def bottom_up(self, x: Tensor) -> list[Distribution]:
        """Evidence of the upward pass for each layer, the lowest first."""
        self.check_examples(x)
        gives = (self.width,)
        features = [leaky_relu(self.run_encoder(x, gives=gives))]
        for layer in self.up:
            features.append(leaky_relu(apply_batched(layer, features[-1], gives=gives, name="layer")))
        parts = zip(self.families, self.heads, features, strict=True)
        return [family(apply_batched(head, feature)) for family, head, feature in parts]

    def generative(self, n: int, above: Tensor) -> Distribution:
        """Prior of layer n, counted from 0, given latents of the layer above, (..., D above)."""
        return self.families[n](apply_batched(self.down[n], above, gives=(2, self.latent_dims[n]), name="layer"))

    def corrected(self, n: int, upward: Distribution, above: Tensor) -> Distribution:
        """Posterior of layer n, given its distribution from the upward pass and latents of the layer above."""
        return combine(upward, self.generative(n, above))
