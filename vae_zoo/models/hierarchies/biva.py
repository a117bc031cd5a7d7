"""The bidirectional-inference variational autoencoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vae_zoo.distributions import Walk
from vae_zoo.models.base.components import make
from vae_zoo.models.hierarchies.top_down import SMALL, Block, TopDownVAE, run
from vae_zoo.nn.batching import as_weights
from vae_zoo.nn.hierarchies.maps import convolution, damp
from vae_zoo.typing import Network


class BIVA(TopDownVAE):
    r"""Hierarchy whose layers each have latents inferred on the way up and latents inferred on the way down.

    .. math::
        q(z|x) = q(z_L | u_{<L}, x) \prod_{l=1}^{L-1} q(u_l | u_{<l}, x) \, q(d_l | z_{>l}, u, x)

    .. math:: p(z) = p(z_L) \prod_{l=1}^{L-1} p(u_l | z_{>l}) \, p(d_l | z_{>l}), \quad z_l = (u_l, d_l)

    The latents u of the pass upwards feed the features of the layers above. All latents are added to one state, a skip
    connection from each layer to all below and to the decoder. The divergence of d is in closed form given what came
    before it; that of u is log q - log p of the draw, since the layers above, which its prior is given, depend on u
    itself: the closed form would not be that of the bound.

    When to use it:
        As ``VDVAE``, if upper layers are to be used more. Its rate has more noise, because that of the upward latents
        is estimated from draws.

    References:
        | BIVA: A Very Deep Hierarchy of Latent Variables for Generative Modeling (Maaløe et al., 2019)
        | https://arxiv.org/abs/1902.02102

    Args:
        kwargs: Arguments of :class:`TopDownVAE`. Each layer but the highest has two latents of ``latent_dim`` channels;
            their order in z is d, u of the lowest layer, d, u of the next, and so on.
    """

    def sizes_of_latents(self, latent_dim: int) -> list[int]:
        *below, top = super().sizes_of_latents(latent_dim)
        return [dim for each in below for dim in (each, each)] + [top]

    @property
    def block_class(self) -> type[Block]:
        return TwoWayBlock

    def bottom_up(self, x: Tensor) -> list[Tensor]:
        self.check_examples(x)
        return [self.run_encoder(x, gives=(self.width, *self.sizes[0]))]

    def features(self, walk: Walk, seen: list[Tensor]) -> list[Tensor]:
        e, reached = seen[0], -1
        found: list[Tensor] = []
        for n, (level, block) in enumerate(zip(self.levels, self.blocks, strict=True)):
            while reached < level:
                reached += 1
                e = self.rise(reached, e)
            if block.prior is not None:
                q = self.normal(block.infer_up(e))  # type: ignore[operator]
                walk.q[2 * n + 1] = q
                e = block.lift(e, walk.draw(2 * n + 1, q))  # type: ignore[operator]
            found.append(e)
        return found

    def visit(self, n: int, walk: Walk, h: Tensor, params: Tensor, e: Tensor | None) -> Tensor:
        downward, upward = (torch.cat(pair, -1) for pair in zip(*_halves(params), strict=True))
        q = None if e is None else self.relative(self.blocks[n].infer(h, e), downward)  # type: ignore[operator]
        down = walk.visit(2 * n, self.normal(downward), q)
        return torch.cat([down, walk.visit(2 * n + 1, self.normal(upward), walk.q[2 * n + 1])], -1)

    def slot(self, n: int) -> int:
        return 2 * n

    def rates(self, walk: Walk) -> list[Tensor]:
        found = super().rates(walk)
        for n in range(1, len(found), 2):
            q, p, z = walk.q[n].base_dist, walk.p[n].base_dist, walk.parts[n]
            found[n] = q.log_prob(z) - p.log_prob(z)
        return found


class TwoWayBlock(Block):
    """The networks of one layer with latents of both directions.

    Args:
        width: Channels of features and state.
        sides: Sides of the layer's maps.
        latents: Channels of the latents of each direction.
        layer: Network from maps to maps with the same sides.
        top: Whether the layer is the highest, which has latents of one direction only.
    """

    def __init__(self, width: int, sides: tuple[int, ...], latents: int, layer: Network, *, top: bool) -> None:
        super().__init__(width, sides, latents, layer, top=top, groups=1 if top else 2)
        if not top:
            self.inference = make("layer", layer, nn.Module, (width, *sides), (2 * latents, *sides))
            damp(self.inference, SMALL)
            self.lifting = convolution(latents, width, len(sides))

    def infer_up(self, e: Tensor) -> Tensor:
        """Parameters of the posterior of the upward latents, (N, 2 D), given features."""
        return run(self.inference, e, (2 * self.latents, *self.sides)).flatten(1)

    def lift(self, e: Tensor, z: Tensor) -> Tensor:
        """Features that contain the upward latents (N, D)."""
        return e + self.lifting(as_weights(z, self.lifting).reshape(len(z), -1, *self.sides))


def _halves(params: Tensor) -> list[tuple[Tensor, ...]]:
    """Locations and log-scales (N, 2 D) of both directions, each as those of one and the other."""
    return [part.chunk(2, -1) for part in params.chunk(2, -1)]
