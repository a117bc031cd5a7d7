"""Latents in layers, where each layer's distribution is a function of the layer above."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.divergence import kl_per_dim
from vae_zoo.distributions.normal import Normal, independent, is_normal

Layer: TypeAlias = Callable[[Tensor], Distribution]
"""A layer's distribution, given latents of the layer above, (..., D above)."""


class Hierarchical(Distribution):
    r"""Layers of latents concatenated into one vector, the lowest first.

    .. math:: \log p(z) = \log p(z_L) + \sum_{l=1}^{L-1} \log p(z_l | z_{l+1})

    ``mean`` and ``variance`` are computed along one path: for each layer, given the mean of the layer above.

    Args:
        top: Distribution of the highest layer, batch shape () or (B,).
        below: The other layers, the lowest first.
        dims: Dimensions of each layer, the lowest first.
    """

    support = constraints.real_vector
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, top: Distribution, below: Sequence[Layer], dims: Sequence[int]) -> None:
        self.top, self.below, self.dims = top, list(below), list(dims)
        super().__init__(top.batch_shape, torch.Size([sum(dims)]), validate_args=False)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        return self.top.has_rsample  # a mixture has none

    def layers(self, z: Tensor) -> list[Distribution]:
        """Distribution of each layer, the lowest first, given the latents above it in z, (..., D)."""
        above = z.split(self.dims, -1)[1:]
        return [*(layer(z_above) for layer, z_above in zip(self.below, above, strict=True)), self.top]

    def follow(self, z: Tensor, lowest: int) -> Tensor:
        """Latents whose layers below one, counted from 0, are the means given those above, (..., D)."""
        parts = list(z.split(self.dims, -1))
        for n in reversed(range(lowest)):
            parts[n] = self.below[n](parts[n + 1]).mean
        return torch.cat(parts, -1)

    def log_prob(self, value: Tensor) -> Tensor:
        parts = zip(self.layers(value), value.split(self.dims, -1), strict=True)
        return torch.stack([layer.log_prob(z) for layer, z in parts]).sum(0)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        return self._descend(self.top.rsample(sample_shape))

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        return self._descend(self.top.sample(sample_shape))

    def _descend(self, top: Tensor) -> Tensor:
        z = [top]
        for layer in reversed(self.below):
            z.insert(0, layer(z[0]).rsample())
        return torch.cat(z, -1)

    @property
    def mean(self) -> Tensor:
        z = [self.top.mean]
        for layer in reversed(self.below):
            z.insert(0, layer(z[0]).mean)
        return torch.cat(z, -1)

    @property
    def variance(self) -> Tensor:
        return torch.cat([layer.variance for layer in self.layers(self.mean)], -1)


def kl_of_layers(q: Hierarchical, p: Hierarchical, z: Tensor) -> list[Tensor]:
    r"""Divergence of one hierarchy from another, layer by layer: in closed form given the layers above, where known.

    .. math:: \mathbb{E}_{q(z)} \, \mathrm{KL}(q(z_l | z_{l+1}) \,\|\, p(z_l | z_{l+1}))

    Args:
        q: Posterior of a batch, batch shape (B,).
        p: Prior, batch shape () or (B,), with layers of the same dimensions.
        z: Samples of q, (K, B, D).

    Returns:
        Nats of each layer, the lowest first: (B, D of the layer), or (B, 1) where only the total is known.
    """
    pairs = zip(q.layers(z), p.layers(z), z.split(q.dims, -1), strict=True)
    rates = [kl_per_dim(q_n, p_n, z_n) for q_n, p_n, z_n in pairs]  # (K, B, D) below the top, which has (B, D)
    return [rate.reshape(-1, *rate.shape[-2:]).mean(0) for rate in rates]


def joined(rates: Sequence[Tensor], dims: Sequence[int]) -> Tensor:
    """Divergences of layers as one: of each dimension if those of all layers are known, (B, D), else the total, (B, 1).

    Args:
        rates: Divergences of the layers, of :func:`kl_of_layers`.
        dims: Dimensions of the layers.
    """
    whole = torch.cat(list(rates), 1)
    return whole if whole.shape[1] == sum(dims) else whole.sum(1, keepdim=True)


def combine(a: Distribution, b: Distribution) -> Distribution:
    r"""Product of two densities of independent normal values, which is normal: precisions add up.

    .. math::
        \sigma^{-2} = \sigma_a^{-2} + \sigma_b^{-2}, \quad
        \mu = \sigma^2 (\sigma_a^{-2} \mu_a + \sigma_b^{-2} \mu_b)

    References:
        | Ladder Variational Autoencoders (Sønderby et al., 2016)
        | https://arxiv.org/abs/1602.02282

    Args:
        a: First distribution, event shape (D,).
        b: Second distribution, event shape (D,), of a batch shape that broadcasts.

    Raises:
        ValueError: If one of them is not a normal distribution of this package with independent dimensions.
    """
    if not (is_normal(a) and is_normal(b)):
        raise ValueError("combine needs two normal distributions with independent dimensions.")
    first, second = a.base_dist, b.base_dist  # type: ignore[attr-defined]
    weight = torch.sigmoid(2 * (second.log_scale - first.log_scale))
    loc = torch.lerp(*torch.broadcast_tensors(second.loc, first.loc, weight))
    log_scale = -0.5 * torch.logaddexp(-2 * first.log_scale, -2 * second.log_scale)
    return independent(Normal(loc, log_scale), 1)
