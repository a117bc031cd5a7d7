"""A kernel density estimate of the latents."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import Mixture, Normal, tempered
from vae_zoo.distributions.estimation.moments import scales
from vae_zoo.distributions.normal import independent
from vae_zoo.functional import exact
from vae_zoo.samplers.density import Density
from vae_zoo.typing import Shape

_QUERIES = 1000
"""Latents whose leave-one-out likelihood chooses the bandwidth."""

_ELEMENTS = 2**22
_STEPS = 30
_GOLDEN = (math.sqrt(5) - 1) / 2


class Kernels(Mixture):
    """Mixture of many normal distributions: one of them is drawn first, and only that one is sampled.

    Args:
        components: Normal distributions with independent dimensions, batch shape (P,).
    """

    @torch.no_grad()
    def sample(self, sample_shape: Any = ()) -> Tensor:
        base: Any = self.components.base_dist  # type: ignore[attr-defined]
        chosen = torch.randint(len(base.loc), tuple(sample_shape), device=base.loc.device)
        loc = base.loc[chosen]
        return loc + base.scale[chosen] * torch.randn_like(loc)


@tempered.register
def _(p: Kernels, temperature: float) -> Distribution:
    return Kernels(tempered(p.components, temperature))


class KDE(Density):
    r"""Mixture of normal distributions around the latents themselves.

    .. math:: p(z) = \frac{1}{N} \sum_{i=1}^N \mathcal{N}(z; z_i, h^2 S), \quad S = \mathrm{diag}(s_1^2, \dots, s_D^2)

    s is the standard deviation of each dimension. The bandwidth h maximises the leave-one-out likelihood; with its own
    kernel, each latent would be most likely at h = 0. Equal latents count as one.

    References:
        | On Estimation of a Probability Density Function and Mode (Parzen, 1962)
        | https://doi.org/10.1214/aoms/1177704472
        | An Alternative Method of Cross-validation for the Smoothing of Density Estimates (Bowman, 1984)
        | https://doi.org/10.1093/biomet/71.2.353

    Args:
        shape: Shape of one latent.
        num_points: Number of latents to keep, drawn at random; all of them if not given.
        bandwidth: Bandwidth h; chosen if not given.
        seed: Seed of the latents that are kept, and of those that choose the bandwidth.

    Raises:
        ValueError: If num_points is less than 1, or less than 2 without a bandwidth, or the bandwidth is not positive
            and finite; when fitted, if there are fewer latents than num_points.
    """

    points: Tensor
    log_scale: Tensor

    def __init__(
        self, shape: Shape, *, num_points: int | None = None, bandwidth: float | None = None, seed: int = 0
    ) -> None:
        super().__init__(shape, seed=seed)
        if num_points is not None and num_points < 1:
            raise ValueError(f"num_points must be at least 1, got {num_points}.")
        if num_points == 1 and bandwidth is None:
            raise ValueError("num_points must be at least 2 for a bandwidth to be chosen, got 1: give a bandwidth.")
        if bandwidth is not None and not (bandwidth > 0 and math.isfinite(bandwidth)):
            raise ValueError(f"bandwidth must be positive and finite, got {bandwidth}.")
        self.num_points, self.bandwidth = num_points, bandwidth
        self.register_buffer("points", torch.zeros(num_points or 1, self.num_dims))
        self.register_buffer("log_scale", torch.zeros(self.num_dims))

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        points = exact(self.points).unflatten(-1, self.shape)
        return Kernels(independent(Normal(points, exact(self.log_scale).view(self.shape)), len(self.shape)))

    @property
    def settings(self) -> dict[str, Any]:
        return {"num_points": len(self.points), "bandwidth": self.bandwidth, **super().settings}

    @property
    def least(self) -> int:
        return max(2, self.num_points or 0)

    def _fit(self, z: Tensor) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        _, scale = scales(z)
        if self.num_points is not None:
            z = z[torch.randperm(len(z), generator=generator)[: self.num_points].sort().values]
        h = self.bandwidth if self.bandwidth is not None else leave_one_out(z / scale, generator)
        self.points = self.points.new_empty(z.shape).copy_(z)
        self.log_scale.copy_(scale.log() + math.log(h))


def leave_one_out(z: Tensor, generator: torch.Generator) -> float:
    r"""The bandwidth under which each latent is most likely given all others, by golden section in log h.

    .. math:: \max_h \sum_i \log \frac{1}{N - 1} \sum_{j \ne i} \mathcal{N}(z_i; z_j, h^2 I)

    Args:
        z: Latents, (N, D).
        generator: Source of the latents i of the outer sum, if there are more than 1,000.
    """
    rows = torch.randperm(len(z), generator=generator)[:_QUERIES]
    guess = math.log(len(z)) / -(z.shape[1] + 4)  # Scott's rule
    low, high = guess - 4, guess + 2
    inner, outer = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    values = {at: _held_out(z, rows, at) for at in (inner, outer)}
    for _ in range(_STEPS):
        if high - low < 1e-2:
            break
        if values[inner] > values[outer]:
            high, outer = outer, inner
            inner = high - _GOLDEN * (high - low)
            values[inner] = _held_out(z, rows, inner)
        else:
            low, inner = inner, outer
            outer = low + _GOLDEN * (high - low)
            values[outer] = _held_out(z, rows, outer)
    return math.exp((low + high) / 2)


def _held_out(z: Tensor, rows: Tensor, log_h: float) -> float:
    """Mean log-likelihood of some latents (rows) given all others, in nats up to a constant."""
    total = 0.0
    for part in rows.split(max(1, _ELEMENTS // len(z))):
        square = torch.cdist(z[part], z, compute_mode="donot_use_mm_for_euclid_dist").square()
        square = square.masked_fill(square == 0, math.inf)  # itself, and its equals
        kernels = torch.logsumexp(-0.5 * math.exp(-2 * log_h) * square, 1)
        total += kernels[kernels.isfinite()].sum().item()
    return total / len(rows) - z.shape[1] * log_h
