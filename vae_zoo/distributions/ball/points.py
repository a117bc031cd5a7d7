"""Common parts of distributions on the Poincaré ball: its points in floating-point numbers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.families import Family, check_bounds
from vae_zoo.distributions.sphere.bessel import widened
from vae_zoo.distributions.supports import Ball
from vae_zoo.functional import ball_distance, ball_exp
from vae_zoo.typing import Shape

REACH = 2 * math.atanh(1 - 1e-5)
"""Distance from the origin, times √c, up to which samples are kept; farther out, distances in float32 are inexact."""

FARTHEST_MEAN = 8.0
"""Distance from the origin, times √c, up to which means lie, so that samples around them can be held too."""


class OnBall(Distribution):
    """Base of distributions around a point of the Poincaré ball, with densities with respect to its own volume.

    Args:
        loc: Points μ, (\\*batch, d).
        log_scale: Logarithm of the scale σ, in units of distance.
        curvature: c, above 0.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, loc: Tensor, log_scale: Tensor, curvature: float) -> None:
        self.dtype, self.curvature = loc.dtype, curvature
        self.loc, self.log_scale = widened(loc), widened(log_scale)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return Ball(self.event_shape[0], self.curvature)

    @property
    def mean(self) -> Tensor:
        """The point of least mean squared distance, μ."""
        return self.loc.to(self.dtype)

    def expand(self, batch_shape: Any, _instance: Any = None) -> OnBall:
        shape = torch.Size(batch_shape)
        rest = self.log_scale.shape[len(self.batch_shape) :]
        loc, log_scale = self.loc.expand(*shape, *self.event_shape), self.log_scale.expand(*shape, *rest)
        return type(self)(loc.to(self.dtype), log_scale, self.curvature)

    def scaled(self, factor: float) -> OnBall:
        """The distribution with its scale multiplied by a factor."""
        return type(self)(self.mean, self.log_scale + math.log(factor), self.curvature)

    def distance(self, value: Tensor) -> Tensor:
        """Distance of points from μ."""
        return ball_distance(self.loc, widened(value), self.curvature)

    def reached(self, v: Tensor) -> Tensor:
        """The points that tangent vectors at μ lead to, within the range of the samples' type."""
        z = ball_exp(self.loc, v, self.curvature)
        most = math.tanh(REACH / 2) / math.sqrt(self.curvature)
        norm = torch.linalg.vector_norm(z, dim=-1, keepdim=True)
        return (z * (most / norm.clamp(min=most))).to(self.dtype)


class BallFamily(Family):
    """Base of families over the Poincaré ball, with the mean and a scale from the network.

    Args:
        shape: Shape of one event, (d,).
        curvature: c of the ball of curvature -c.
        min_log_scale: Lower bound of log σ.
        max_log_scale: Upper bound of log σ.

    Raises:
        ValueError: If events are not vectors, the curvature is not positive and finite, or the bounds leave no room.
    """

    def __init__(
        self, shape: Shape, *, curvature: float = 1.0, min_log_scale: float = -7.0, max_log_scale: float = 1.0
    ) -> None:
        super().__init__(shape)
        check_ball(type(self).__name__, self.shape, curvature)
        check_bounds(min_log_scale, max_log_scale)
        self.curvature, self.min_log_scale, self.max_log_scale = float(curvature), min_log_scale, max_log_scale


def mean_from(h: Tensor, curvature: float) -> Tensor:
    """The point in the direction of vectors (..., d) from the origin, at their norm as distance, up to a limit."""
    most = FARTHEST_MEAN / math.sqrt(curvature)
    norm = torch.sqrt(h.square().sum(-1, keepdim=True) + 1e-20)
    return ball_exp(torch.zeros_like(h), h * (most / norm.clamp(min=most)), curvature)


def room_around_mean(h: Tensor, curvature: float) -> Tensor:
    """Distance (...) from the means of vectors (..., d) within which every point can be held, at least 4.2 / √c."""
    root = math.sqrt(curvature)
    norm = torch.sqrt(h.square().sum(-1) + 1e-20)
    return REACH / root - norm.clamp(max=FARTHEST_MEAN / root)


def excess(size: Tensor, most: Tensor) -> Tensor:
    r""":math:`\max(s - m, 0)`, to be subtracted from what makes up the size s, so that it is at most m.

    The gradient of s is 0 where a step would make it larger yet, and that of the identity where it would lead back:
    the size does not get stuck beyond its limit.

    Args:
        size: Sizes s, any shape.
        most: Limits m, the same shape.
    """
    return _Excess.apply(size, most)


class _Excess(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(size: Tensor, most: Tensor) -> Tensor:
        return (size - most).clamp(min=0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004
        ctx.save_for_backward(output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        (beyond,) = ctx.saved_tensors
        grad = torch.where(beyond > 0, grad, 0.0)
        return grad.clamp(min=0), -grad


def log_sinhc(y: Tensor) -> Tensor:
    r""":math:`\log \frac{\sinh y}{y}` of numbers above 0, accurate at both ends."""
    return y + torch.log(-torch.expm1(-2 * y) / (2 * y))


def check_ball(name: str, shape: Shape, curvature: float) -> None:
    """Refuse latents that are not vectors, and a space without curvature.

    Raises:
        ValueError: If the shape is not (d,), or curvature is not positive and finite.
    """
    if len(shape) != 1:
        raise ValueError(f"{name} needs latents that are vectors, got shape {shape}.")
    if not 0 < curvature < math.inf:
        raise ValueError(f"curvature must be positive and finite, got {curvature}.")


def check_reach(name: str, farthest: float, scale: float, dims: int, curvature: float) -> None:
    """Refuse a prior with much of its mass where float32 has no points.

    Args:
        name: Name of the prior.
        farthest: Distance from the origin that a few percent of its samples exceed.
        scale: Its scale.
        dims: Its dimensions.
        curvature: Its curvature.

    Raises:
        ValueError: If its mass reaches beyond the points that are kept.
    """
    most = REACH / math.sqrt(curvature)
    if farthest > most:
        raise ValueError(
            f"{name} of {dims} dimensions with scale {scale:g} and curvature {curvature:g} reaches {farthest:.3g} from "
            f"the origin, and float32 {most:.3g}: lower the scale, the curvature or latent_dim."
        )
