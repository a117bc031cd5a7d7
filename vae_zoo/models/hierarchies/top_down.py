"""Deep hierarchies: layers of latents on maps of several resolutions, inferred from the top down."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.distributions import (
    DiagonalNormal,
    StandardNormal,
    TopDown,
    Walk,
    kl_per_dim,
    score,
)
from vae_zoo.distributions.normal import Normal, independent
from vae_zoo.elbo import ELBO, check_number
from vae_zoo.elbo.importance import Draw
from vae_zoo.functional import exact
from vae_zoo.models.base.components import check_shape, make
from vae_zoo.models.plain.vae import VAE
from vae_zoo.nn import Bottleneck, Head, Stem
from vae_zoo.nn.batching import apply_batched, as_weights
from vae_zoo.nn.halving import Size, halved
from vae_zoo.nn.hierarchies.maps import check_sides, convolution, damp, grow, shrink
from vae_zoo.typing import Network, Shape

SMALL = 0.1
"""Factor on the last weights of posteriors and priors, so that all start close to the standard normal distribution."""


class TopDownVAE(VAE):
    r"""VAE with many layers of latents, each a map, from coarse at the top to fine at the bottom.

    .. math::
        \mathcal{L}(x) = \mathbb{E}_{q(z|x)} \Big[ \log p(x|z) - \sum_{l=1}^{L}
        \mathrm{KL}(q(z_l | z_{>l}, x) \,\|\, p(z_l | z_{>l})) \Big], \quad
        q(z_l | z_{>l}, x) = q(z_l | h_l(z_{>l}), e_l(x)), \quad p(z_l | z_{>l}) = p(z_l | h_l(z_{>l}))

    A deterministic pass upwards gives features e of the example at every resolution, each half of the one below. On the
    way down, a state h collects what has been drawn: each layer adds to it, and it grows to the next resolution by
    repeating values. Posterior and prior of a layer are given the same state, and the decoder reads the last one. The
    prior of the top layer is the standard normal distribution. A latent z contains all layers, the lowest first, each
    map flattened. For vectors, maps have no sides, and all layers are of the same size.

    :class:`VDVAE`, :class:`NVAE` and :class:`BIVA` are made of this one.

    References:
        | Ladder Variational Autoencoders (Sønderby et al., 2016)
        | https://arxiv.org/abs/1602.02282
        | Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images (Child, 2021)
        | https://arxiv.org/abs/2011.10650

    Args:
        shape: Shape of one example; linked from the data on the command line.
        latent_dim: Channels of the latents of each layer.
        layers: Number of layers at each resolution, the finest first.
        halvings: Number of times that the sides of an example are halved before the finest resolution.
        width: Channels of features and state.
        layer: Network from maps to maps with the same sides: of the pass upwards, of each posterior and prior, and of
            what each layer adds to the state.
        residual: Whether a posterior's location and log-scale are differences from those of the layer's prior.
        encoder: Network from an example to the finest features.
        decoder: Network from the last state to the parameters of the likelihood.
        kwargs: Arguments of :class:`VAE` except ``posterior`` and ``prior``, which are normal here.

    Raises:
        ValueError: If a number of layers is negative or there is none at the coarsest resolution, width is less than
            1, halvings is negative, or examples have more than three sides.
    """

    fixed = dict.fromkeys(("posterior", "prior"), "every layer of its latents is normal")

    apart = {
        "BetaTCVAE": "the dimensions of its posterior are not independent, which the parts of the rate need",
        "IWAEDReG": "layers reach the decoder one by one, and not as the tensor whose gradient is weighted",
        **dict.fromkeys(
            ("ConditionalVAE", "M2", "SequenceVAE"), "the state that the decoder reads is that of the latents alone"
        ),
        "FactorVAE": "its discriminator is for latents of latent_dim values, of which each layer has as many a place",
        **dict.fromkeys(
            ("AdaGVAE", "AdaMLVAE"), "the layers of its posterior have no parameters that could be averaged"
        ),
        **dict.fromkeys(
            ("LadderVAE", "HamiltonianVAE", "RHVAE"), "both draw latents and sum their densities in a way of their own"
        ),
    }

    def __init__(
        self,
        *,
        shape: Shape,
        latent_dim: int = 4,
        layers: Sequence[int] = (1, 1, 1),
        halvings: int = 1,
        width: int = 32,
        layer: Network = Bottleneck,
        residual: bool = False,
        encoder: Network = Stem,
        decoder: Network = Head,
        **kwargs: Any,
    ) -> None:
        check_shape(shape)
        check_sides(shape)
        if not layers or min(layers) < 0 or layers[-1] < 1:
            raise ValueError(
                "layers must be numbers of at least 0, of which the last, at the coarsest resolution, is at least 1, "
                f"got {list(layers)}."
            )
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}.")
        if halvings < 0 or width < 1:
            raise ValueError(f"halvings must be at least 0 and width at least 1, got {halvings} and {width}.")
        self.width, self.residual = width, residual
        self.sizes = _resolutions(tuple(shape[1:]), halvings, len(layers))
        self.levels = [level for level, num in enumerate(layers) for _ in range(num)]
        self.latent_dims = self.sizes_of_latents(latent_dim)  # the networks' shapes follow from them
        super().__init__(
            shape=shape,
            latent_dim=latent_dim,
            encoder=encoder,
            decoder=decoder,
            posterior=DiagonalNormal,
            prior=StandardNormal,
            **kwargs,
        )
        self.latent_prior = StandardNormal((self.latent_dims[-1],))
        self.up = nn.ModuleList(make("layer", layer, nn.Module, *[(width, *sides)] * 2) for sides in self.sizes)
        self.blocks = nn.ModuleList(self.block(n, layer) for n in range(len(self.levels)))
        self.start = nn.Parameter(torch.zeros(width, *self.sizes[-1]))
        for network in (*self.up, *(block.refine for block in self.blocks)):
            damp(network, 1 / math.sqrt(len(self.blocks)))

    @property
    def latent_shape(self) -> Shape:
        return (sum(self.latent_dims),)

    @property
    def encoder_shapes(self) -> tuple[Shape, Shape]:
        return self.likelihood.read_shape, (self.width, *self.sizes[0])

    @property
    def decoder_shapes(self) -> tuple[Shape, Shape]:
        return (self.width, *self.sizes[0]), self.likelihood.param_shape

    def sizes_of_latents(self, latent_dim: int) -> list[int]:
        """Dimensions of each layer, the lowest first."""
        return [latent_dim * math.prod(self.sizes[level]) for level in self.levels]

    def block(self, n: int, layer: Network) -> Block:
        """The networks of layer n, counted from 0."""
        top, level = n == len(self.levels) - 1, self.levels[n]
        return self.block_class(self.width, self.sizes[level], self.latent_dim, layer, top=top)

    @property
    def block_class(self) -> type[Block]:
        """Class of the networks of a layer."""
        return Block

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return TopDown(self.descend, self.latent_dims, self.bottom_up(x))

    def prior(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return TopDown(self.descend, self.latent_dims)

    def decode(
        self,
        z: Tensor,
        c: Tensor | None = None,  # noqa: ARG002
        *,
        state: Tensor | None = None,
    ) -> Distribution:
        """Likelihood p(x|z) of latents (..., D).

        Args:
            z: Latents.
            c: Not used.
            state: The last state of the walk that drew the latents, (..., width, \\*sides), which is otherwise found
                by going down again.
        """
        shape, gives = self.decoder_shapes
        if state is None:
            lead = z.shape[:-1]
            state = TopDown(self.descend, self.latent_dims).go(lead, latents=z).state.reshape(*lead, *shape)
        return self.likelihood(apply_batched(self.decoder, state, len(shape), gives=gives, name="decoder"))

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        check_number("num_samples", num_samples, 1)
        return self.terms(self.encode(x, c), x, c, num_samples)

    def _weights(self, x: Tensor, c: Tensor | None) -> Draw:
        q = self.encode(x, c)  # once for all samples
        return lambda num: self.terms(q, x, c, num).log_w

    def terms(self, q: Any, x: Tensor, c: Tensor | None, num_samples: int) -> ELBO:
        """The terms of the bound from one walk, on which posterior, prior and state are computed together."""
        lead = (num_samples, len(x))
        walk = q.go((num_samples,))
        z = walk.z.reshape(*lead, -1)
        q, p = q.knowing(walk, z), self.prior(c)
        p = p.knowing(walk, z) if isinstance(p, TopDown) else p
        rates, curves = self.divergence(q, p, z)
        px = self.decode(z, c, state=walk.state.reshape(*lead, *walk.state.shape[1:]))
        log_px = score(px, x, z.shape[:2])
        return ELBO(q=q, p=p, z=z, log_px=log_px, kl=rates.sum(1), rates=rates, curves=curves, x=x, c=c, px=px)

    def divergence(self, q: Any, p: Any, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: ARG002
        batch = z.shape[:2]
        rates = [rate.reshape(*batch, -1).mean(0) for rate in self.rates(q.walk)]
        return torch.cat(rates, 1), {f"kl_{n + 1}": rate.sum(1) for n, rate in enumerate(rates)}

    def rates(self, walk: Walk) -> list[Tensor]:
        """Divergence of each layer given those above, (N, D of the layer)."""
        return [kl_per_dim(q, p, z) for q, p, z in zip(walk.q, walk.p, walk.parts, strict=True)]

    def bottom_up(self, x: Tensor) -> list[Tensor]:
        """Features of examples for the posteriors: one map for each resolution, the finest first."""
        self.check_examples(x)
        e = self.run_encoder(x, gives=(self.width, *self.sizes[0]))
        found = [self.rise(0, e)]
        for level in range(1, len(self.sizes)):
            found.append(self.rise(level, found[-1]))
        return found

    def rise(self, level: int, e: Tensor) -> Tensor:
        """Features at a resolution, from those below."""
        e = shrink(e, self.sizes[level])
        return e + run(self.up[level], e, (self.width, *self.sizes[level]))

    def descend(self, walk: Walk, seen: list[Tensor] | None) -> Tensor:
        """Go down the layers and visit each; returns the last state, (N, width, \\*sides).

        Args:
            walk: The walk.
            seen: What :meth:`bottom_up` gives, for each row; None for the prior.
        """
        found = None if seen is None else self.features(walk, seen)
        h = self.start.expand(walk.num, *self.start.shape)
        for n in reversed(range(len(self.blocks))):
            block: Any = self.blocks[n]
            h, e = block.enter(h), None if found is None else found[n]
            if block.prior is None:
                p = self.latent_prior()
                q = None if e is None else self.relative(block.infer(h, e), None)
                h = block.absorb(h, walk.visit(self.slot(n), p, q))
            else:
                params, feature = block.predict(h)
                z = self.visit(n, walk, h, params, e)
                h = block.absorb(h + feature, z)
        return grow(h, self.sizes[0])

    def features(self, walk: Walk, seen: list[Tensor]) -> list[Tensor]:  # noqa: ARG002
        """Features for the posterior of each layer, (N, width, \\*sides), from what is seen of each row."""
        return [seen[level] for level in self.levels]

    def visit(self, n: int, walk: Walk, h: Tensor, params: Tensor, e: Tensor | None) -> Tensor:
        """Latents of layer n below the top, (N, D).

        Args:
            n: Number of the layer, from 0.
            walk: The walk.
            h: State of the layers above.
            params: Parameters of the prior.
            e: Features; None for the prior alone.
        """
        block: Any = self.blocks[n]
        q = None if e is None else self.relative(block.infer(h, e), params)
        return walk.visit(self.slot(n), self.normal(params), q)

    def slot(self, n: int) -> int:
        """Place in z of the latents of layer n that are inferred on the way down."""
        return n

    def normal(self, params: Tensor) -> Distribution:
        """Normal distribution with parameters (N, 2 D): locations, then log-scales."""
        loc, log_scale = exact(params).chunk(2, -1)
        family: Any = self.posterior
        return independent(Normal(loc, log_scale.clamp(family.min_log_scale, family.max_log_scale)), 1)

    def relative(self, params: Tensor, base: Tensor | None) -> Distribution:
        """Posterior of a layer with these parameters, given those of its prior, which are 0 if there are none."""
        return self.normal(params if base is None or not self.residual else exact(params) + exact(base))


class Block(nn.Module):
    """The networks of one layer of latents.

    Args:
        width: Channels of features and state.
        sides: Sides of the layer's maps.
        latents: Channels of the latents.
        layer: Network from maps to maps with the same sides.
        top: Whether the layer is the highest, whose prior has no network.
        groups: Number of latents of so many channels that are drawn in the layer.
    """

    def __init__(self, width: int, sides: Size, latents: int, layer: Network, *, top: bool, groups: int = 1) -> None:
        super().__init__()
        state, self.sides = (width, *sides), sides
        self.width, self.latents, self.groups = width, latents, groups
        self.prior = None
        if not top:
            self.prior = make("layer", layer, nn.Module, state, (2 * groups * latents + width, *sides))
            damp(self.prior, SMALL)
            self.bias = nn.Parameter(torch.zeros(width, *sides))
        self.posterior = make("layer", layer, nn.Module, (2 * width, *sides), (2 * latents, *sides))
        damp(self.posterior, SMALL)
        self.project = convolution(groups * latents, width, len(sides))
        self.refine = make("layer", layer, nn.Module, state, state)

    def enter(self, h: Tensor) -> Tensor:
        """The state of the layers above, at this resolution."""
        return h if self.prior is None else grow(h, self.sides) + self.bias.to(h.dtype)

    def predict(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Parameters of the prior, (N, 2 · D of all groups), and what it adds to the state."""
        num = 2 * self.groups * self.latents
        out = run(self.prior, h, (num + self.width, *self.sides))
        return out[:, :num].flatten(1), out[:, num:]

    def infer(self, h: Tensor, e: Tensor) -> Tensor:
        """Parameters of the posterior, (N, 2 D), given state and features."""
        both = torch.cat([h, e.to(h.dtype)], 1)
        return run(self.posterior, both, (2 * self.latents, *self.sides)).flatten(1)

    def absorb(self, h: Tensor, z: Tensor) -> Tensor:
        """The state after latents (N, D) have been drawn."""
        maps = as_weights(z, self.project).reshape(len(z), -1, *self.sides)
        h = h + self.project(maps)
        return h + run(self.refine, h, (self.width, *self.sides))


def run(network: Any, h: Tensor, gives: Shape) -> Tensor:
    """Apply the network of a layer to maps (N, C, \\*sides)."""
    return apply_batched(network, h, h.ndim - 1, gives=gives, name="layer")


def _resolutions(sides: Size, halvings: int, num: int) -> list[Size]:
    """Sides of the maps at each resolution, the finest first."""
    for _ in range(halvings):
        sides = halved(sides)
    found = [sides]
    for _ in range(num - 1):
        found.append(halved(found[-1]))
    return found
