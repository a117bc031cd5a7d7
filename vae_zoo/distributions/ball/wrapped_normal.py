"""The wrapped normal distribution on the Poincaré ball."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions.ball.points import (
    BallFamily,
    OnBall,
    check_ball,
    check_reach,
    excess,
    log_sinhc,
    mean_from,
    room_around_mean,
)
from vae_zoo.distributions.families import log_of_scale
from vae_zoo.distributions.priors import Prior
from vae_zoo.distributions.sphere.bessel import widened
from vae_zoo.functional import ball_log, exact, log_normal
from vae_zoo.typing import Shape


class Wrapped(OnBall):
    r"""A normal distribution of tangent vectors at μ, carried onto the ball by geodesics.

    .. math::
        z = \exp_\mu(v), \quad v \sim \mathcal{N}(0, \mathrm{diag}(\sigma^2)), \quad
        \log p(z) = \log \mathcal{N}(v; 0, \sigma^2) - (d - 1) \log \frac{\sinh \sqrt{c} r}{\sqrt{c} r}, \quad
        r = \|v\| = d(\mu, z)

    Tangent vectors are in the orthonormal frame carried from the origin by parallel transport, so σ is a distance.

    References:
        | A Wrapped Normal Distribution on Hyperbolic Space for Gradient-Based Learning (Nagano et al., 2019)
        | https://arxiv.org/abs/1902.02992

    Args:
        loc: Points μ, (\*batch, d).
        log_scale: Logarithm of σ of each dimension, (\*batch, d).
        curvature: c, above 0.
    """

    @property
    def stddev(self) -> Tensor:
        """Standard deviation of the tangent vectors, (\\*batch, d)."""
        return self.log_scale.exp().expand_as(self.loc).to(self.dtype)

    @property
    def variance(self) -> Tensor:
        return self.stddev.square()

    def log_prob(self, value: Tensor) -> Tensor:
        v = ball_log(self.loc, widened(value), self.curvature)
        normal = log_normal(v, torch.zeros_like(v), self.log_scale)
        spread = (self.event_shape[0] - 1) * log_sinhc(math.sqrt(self.curvature) * self.distance(value))
        return (normal.sum(-1) - spread).to(self.dtype)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        return self.reached(noise * self.log_scale.exp())


class WrappedNormal(BallFamily):
    r"""Points of the Poincaré ball by a wrapped normal distribution: mean and log σ of each dimension from the network.

    .. math:: \mu = \exp_0(h), \quad z = \exp_\mu(v), \quad v \sim \mathcal{N}(0, \sigma^2)

    Densities are with respect to the volume of the ball. The mean is at most at a distance of :math:`8 / \sqrt{c}` from
    the origin, and samples at :math:`12.2 / \sqrt{c}`, beyond which distances in float32 are inexact. A distribution of
    which more than a few percent would lie beyond is made narrower, in all directions by the same factor, until
    :math:`\|\sigma\| + 2 \max \sigma` is at most the distance from the mean to that limit.

    References:
        | Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders (Mathieu et al., 2019)
        | https://arxiv.org/abs/1901.06033

    Args:
        shape: Shape of one event, (d,).
        curvature: c of the ball of curvature -c.
        min_log_scale: Lower bound of log σ.
        max_log_scale: Upper bound of log σ.

    Raises:
        ValueError: If events are not vectors, the curvature is not positive and finite, or the bounds leave no room.
    """

    @property
    def param_shape(self) -> Shape:
        return (2, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        h, log_scale = params.unbind(-2)
        h, log_scale = widened(h), widened(log_scale.clamp(self.min_log_scale, self.max_log_scale))
        scale = log_scale.exp()
        size = torch.linalg.vector_norm(scale, dim=-1) + 2 * scale.amax(-1)
        log_scale = log_scale - excess(size.log(), room_around_mean(h, self.curvature).log())[..., None]
        return Wrapped(mean_from(h, self.curvature).to(params.dtype), log_scale, self.curvature)


class WrappedNormalPrior(Prior):
    """The wrapped normal distribution at the origin of the Poincaré ball, with one σ.

    References:
        | Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders (Mathieu et al., 2019)
        | https://arxiv.org/abs/1901.06033

    Args:
        shape: Shape of one latent, (d,).
        curvature: c of the ball of curvature -c.
        scale: Standard deviation σ, in units of distance.

    Raises:
        ValueError: If latents are not vectors, curvature or scale is not positive and finite, or the prior is too
            wide for float32.
    """

    zero: Tensor

    def __init__(self, shape: Shape, *, curvature: float = 1.0, scale: float = 1.0) -> None:
        super().__init__(shape)
        check_ball("WrappedNormalPrior", self.shape, curvature)
        self.curvature, self.log_scale = float(curvature), log_of_scale(scale)
        check_reach("WrappedNormalPrior", scale * (self.shape[0] ** 0.5 + 2), scale, self.shape[0], curvature)
        self.register_buffer("zero", torch.zeros(self.shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        zero = exact(self.zero)
        return Wrapped(zero, torch.full_like(zero, self.log_scale), self.curvature)
