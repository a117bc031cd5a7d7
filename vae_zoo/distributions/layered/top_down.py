"""Latents in layers that are drawn from the top down, each given all layers above."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.temperature import check_layers, tempered, tempered_layers

Descent: TypeAlias = Callable[["Walk", "list[Tensor] | None"], Tensor]
"""Goes down the layers, given what is seen of each row or None, visits each, and returns what the decoder reads."""

Choice: TypeAlias = Callable[[Distribution, int], Tensor]
"""Chooses latents of a number of rows from a layer's distribution."""


class Walk:
    """One way down through the layers: the latents that were chosen, and each layer's distributions given those above.

    All have rows as their batch: (N, D of the layer).

    Args:
        num: Number N of rows.
        dims: Dimensions of each layer, the lowest first.
        choose: Chooses latents of a layer that has none yet.
        latents: Latents of all layers, (N, D), if they are given.
        temperatures: Factor on the spread of each layer's prior, in place of 1.
        lowest: The lowest layer whose latents are given, counted from 0.
    """

    def __init__(
        self,
        num: int,
        dims: Sequence[int],
        choose: Choice,
        latents: Tensor | None = None,
        temperatures: Sequence[float] | None = None,
        lowest: int = 0,
    ) -> None:
        self.num, self.choose, self.temperatures = num, choose, temperatures
        self.parts: list[Any] = [None] * len(dims)
        if latents is not None:
            self.parts[lowest:] = latents.split(list(dims), -1)[lowest:]
        self.q: list[Any] = [None] * len(dims)
        self.p: list[Any] = [None] * len(dims)
        self.state: Any = None

    def visit(self, n: int, p: Distribution, q: Distribution | None = None) -> Tensor:
        """Latents of layer n, counted from 0, chosen from the posterior if there is one, else from the prior."""
        self.p[n] = p if self.temperatures is None else tempered(p, self.temperatures[n])
        self.q[n] = q
        if self.parts[n] is None:
            self.parts[n] = self.choose(self.p[n] if q is None else q, self.num)
        return self.parts[n]

    def draw(self, n: int, q: Distribution) -> Tensor:
        """Latents of layer n, chosen from a posterior that comes before the layers above."""
        if self.parts[n] is None:
            self.parts[n] = self.choose(q, self.num)
        return self.parts[n]

    @property
    def z(self) -> Tensor:
        """Latents of all layers, the lowest first, (N, D)."""
        return torch.cat(self.parts, -1)

    def log_prob(self, *, posterior: bool) -> Tensor:
        """Density of the chosen latents, (N,)."""
        pairs = zip(self.q if posterior else self.p, self.parts, strict=True)
        return torch.stack([d.log_prob(z) for d, z in pairs]).sum(0)


class TopDown(Distribution):
    r"""Layers of latents concatenated into one vector, the lowest first, each drawn given all layers above.

    .. math:: \log p(z) = \sum_{l=1}^{L} \log p(z_l | z_{>l})

    ``mean`` and ``variance`` are computed along one path: for each layer, given the means of the layers above.

    Args:
        descend: Goes down the layers of the model.
        dims: Dimensions of each layer, the lowest first.
        seen: What a posterior has seen of the examples, tensors (B, ...); None for the prior.
        temperatures: Factor on the spread of each layer, the lowest first, for a prior.
        walk: Walk that drew ``known``, so that :meth:`log_prob` of it need not go down the layers again.
        known: Latents of that walk, (\*sample, \*batch, D).
    """

    support = constraints.real_vector
    arg_constraints: dict[str, constraints.Constraint] = {}
    has_rsample = True

    def __init__(
        self,
        descend: Descent,
        dims: Sequence[int],
        seen: list[Tensor] | None = None,
        *,
        temperatures: Sequence[float] | None = None,
        walk: Walk | None = None,
        known: Tensor | None = None,
    ) -> None:
        self.descend, self.dims, self.seen, self.temperatures = descend, list(dims), seen, temperatures
        self.walk, self.known = walk, known
        batch = torch.Size() if seen is None else seen[0].shape[:1]
        super().__init__(batch, torch.Size([sum(dims)]), validate_args=False)

    def go(self, lead: Any = (), choose: Choice | None = None, latents: Tensor | None = None, lowest: int = 0) -> Walk:
        """Go down the layers.

        Args:
            lead: Shape of the sample, before that of the batch.
            choose: Chooses latents; by default reparameterised draws.
            latents: Latents, (\\*lead, \\*batch, D), if they are given.
            lowest: The lowest layer whose latents are given, counted from 0.
        """
        shape = torch.Size(lead) + self.batch_shape
        num, seen = shape.numel(), self.seen
        if seen is not None and len(lead):
            seen = [e.expand(*shape, *e.shape[1:]).reshape(num, *e.shape[1:]) for e in seen]
        rows = None if latents is None else latents.reshape(num, sum(self.dims))
        walk = Walk(num, self.dims, choose or drawn, rows, self.temperatures, lowest)
        walk.state = self.descend(walk, seen)
        return walk

    def layers(self, z: Tensor) -> list[Distribution]:
        """Distribution of each layer, the lowest first, given the latents above it in z, (N, D), for a prior."""
        return self.go(z.shape[:-1], latents=z).p

    def follow(self, z: Tensor, lowest: int) -> Tensor:
        """Latents whose layers below one, counted from 0, are the means given those above, (N, D), for a prior."""
        return self.go(z.shape[:-1], central, z, lowest).z

    def knowing(self, walk: Walk, z: Tensor) -> TopDown:
        """The same distribution, whose density at latents is known from a walk."""
        return TopDown(self.descend, self.dims, self.seen, temperatures=self.temperatures, walk=walk, known=z)

    def log_prob(self, value: Tensor) -> Tensor:
        lead = value.shape[:-1]
        if self.walk is not None and value is self.known:
            walk = self.walk
        else:
            if self.batch_shape and tuple(lead[-1:]) != tuple(self.batch_shape):
                value = value.expand(*lead[:-1], *self.batch_shape, -1)
                lead = value.shape[:-1]
            walk = self.go(lead[: len(lead) - len(self.batch_shape)], latents=value)
        return walk.log_prob(posterior=self.seen is not None).reshape(lead)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._shaped(self.go(sample_shape).z, sample_shape)

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self.rsample(sample_shape)

    @property
    def mean(self) -> Tensor:
        return self._shaped(self.go(choose=central).z)

    @property
    def variance(self) -> Tensor:
        walk = self.go(choose=central)
        layers = walk.p if self.seen is None else walk.q
        parts = zip(layers, self.dims, strict=True)
        return self._shaped(torch.cat([d.variance.expand(walk.num, dim) for d, dim in parts], -1))

    def _shaped(self, rows: Tensor, lead: Any = ()) -> Tensor:
        return rows.reshape(*lead, *self.batch_shape, sum(self.dims))


def drawn(d: Distribution, num: int) -> Tensor:
    """Reparameterised draws of a number of rows."""
    return d.rsample(() if d.batch_shape else (num,))


def central(d: Distribution, num: int) -> Tensor:
    """Means of a number of rows."""
    return d.mean.expand(num, -1)


@tempered.register
def _(p: TopDown, temperature: float) -> Distribution:
    given = p.temperatures or [1.0] * len(p.dims)
    return TopDown(p.descend, p.dims, p.seen, temperatures=[temperature * t for t in given])


@tempered_layers.register
def _(p: TopDown, temperatures: Sequence[float]) -> Distribution:
    check_layers(temperatures, len(p.dims))
    return TopDown(p.descend, p.dims, p.seen, temperatures=list(temperatures))
