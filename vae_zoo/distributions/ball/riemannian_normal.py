"""The Riemannian normal distribution on the Poincaré ball."""

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
from vae_zoo.distributions.sphere.inversion import Inversion
from vae_zoo.distributions.sphere.uniform import log_area
from vae_zoo.functional import exact
from vae_zoo.typing import Shape

_WIDTHS = 9
"""Standard deviations beyond which the density of the radius does not matter."""

_NUM_STEPS = 6
"""Steps after which the largest scale is exact in float64."""


class Riemannian(OnBall):
    r"""Normal distribution of distances on the ball, with the greatest entropy for its mean and spread.

    .. math::
        \log p(z) = -\frac{d(\mu, z)^2}{2 \sigma^2} - \log Z(\sigma), \quad
        Z(\sigma) = \frac{2 \pi^{d/2}}{\Gamma(d/2)}
        \int_0^\infty e^{-r^2 / 2 \sigma^2} \Big( \frac{\sinh \sqrt{c} r}{\sqrt{c}} \Big)^{d-1} dr

    Z is computed by quadrature, and the distance of a sample is drawn by inversion: see
    :class:`~vae_zoo.distributions.sphere.inversion.Inversion`.

    References:
        | Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders (Mathieu et al., 2019)
        | https://arxiv.org/abs/1901.06033

    Args:
        loc: Points μ, (\*batch, d).
        log_scale: Logarithm of σ, (\*batch).
        curvature: c, above 0.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, curvature: float) -> None:
        super().__init__(loc, log_scale, curvature)
        dims, flat = self.event_shape[0], self.log_scale.reshape(-1)
        self._radii = radii(flat.detach(), dims, curvature)
        # Values of the table, with their derivative by log σ.
        log_norm = self._radii.log_norm + self._radii.mean_score * (flat - flat.detach())
        self.log_norm = (log_norm + log_area(dims)).reshape(self.log_scale.shape)

    @property
    def variance(self) -> Tensor:
        """Mean square of each coordinate of the tangent vectors to samples, (\\*batch, d)."""
        squared = self._radii.mean_score.reshape(self.log_scale.shape) * torch.exp(2 * self.log_scale)
        return (squared / self.event_shape[0]).unsqueeze(-1).expand_as(self.loc).to(self.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        standardised = self.distance(value) * torch.exp(-self.log_scale)
        return (-0.5 * standardised.square() - self.log_norm).to(self.dtype)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        sample_shape = torch.Size(sample_shape)
        flat = self.log_scale.reshape(-1)
        u = torch.rand((len(flat), sample_shape.numel()), dtype=flat.dtype, device=flat.device)
        radius, slope = self._radii.solve(u)
        radius = (radius + slope * (flat - flat.detach())[:, None]).T.reshape(sample_shape + self.batch_shape)
        shape = self._extended_shape(sample_shape)
        way = torch.randn(shape, dtype=flat.dtype, device=flat.device) + 1e-30  # so that no direction is 0
        return self.reached(radius[..., None] * way / torch.linalg.vector_norm(way, dim=-1, keepdim=True))


class RiemannianNormal(BallFamily):
    r"""Points of the Poincaré ball by a Riemannian normal distribution: mean and one log σ from the network.

    .. math:: q(z|x) \propto e^{-d(\mu, z)^2 / 2 \sigma^2}, \quad \mu = \exp_0(h)

    Densities are with respect to the volume of the ball. The mean is at most at a distance of :math:`8 / \sqrt{c}` from
    the origin, and samples at :math:`12.2 / \sqrt{c}`, beyond which distances in float32 are inexact. Because the
    volume grows with the distance, samples of a wide distribution in many dimensions lie far from the mean: at about
    :math:`(d - 1) \sqrt{c} \sigma^2`. Therefore σ is also bounded such that at most a few percent of samples would
    lie beyond that limit, as in :class:`RiemannianNormalPrior`: with c = 1 and a mean at the origin, to 1.01 in 10
    dimensions and to 0.57 in 32, and to less around other means.

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
        return (self.shape[0] + 1,)

    def distribution(self, params: Tensor) -> Distribution:
        h = widened(params[..., :-1])
        log_scale = widened(params[..., -1].clamp(self.min_log_scale, self.max_log_scale))
        widest = _widest(room_around_mean(h, self.curvature), self.shape[0], self.curvature)
        log_scale = log_scale - excess(log_scale, widest.log())
        return Riemannian(mean_from(h, self.curvature).to(params.dtype), log_scale, self.curvature)


class RiemannianNormalPrior(Prior):
    """The Riemannian normal distribution at the origin of the Poincaré ball.

    References:
        | Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders (Mathieu et al., 2019)
        | https://arxiv.org/abs/1901.06033

    Args:
        shape: Shape of one latent, (d,).
        curvature: c of the ball of curvature -c.
        scale: Scale σ, in units of distance.

    Raises:
        ValueError: If latents are not vectors, curvature or scale is not positive and finite, or the prior is too
            wide for float32.
    """

    zero: Tensor

    def __init__(self, shape: Shape, *, curvature: float = 1.0, scale: float = 1.0) -> None:
        super().__init__(shape)
        check_ball("RiemannianNormalPrior", self.shape, curvature)
        self.curvature, self.log_scale = float(curvature), log_of_scale(scale)
        farthest = _farthest(torch.tensor(float(scale)), self.shape[0], curvature).item()
        check_reach("RiemannianNormalPrior", farthest, scale, self.shape[0], curvature)
        self.register_buffer("zero", torch.zeros(self.shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        zero = exact(self.zero)
        return Riemannian(zero, torch.full_like(zero[0], self.log_scale), self.curvature)


def radii(log_scale: Tensor, dims: int, curvature: float) -> Inversion:
    """The distribution of the distance of samples from the mean, with the derivative by log σ.

    Args:
        log_scale: Logarithm of σ, (R,).
        dims: Number d of dimensions.
        curvature: c, above 0.
    """
    scale, root, n = log_scale.exp(), math.sqrt(curvature), dims - 1
    least, most = _mode_bounds(scale, dims, curvature)

    def log_density(r: Tensor) -> Tensor:
        value = -0.5 * (r / scale[:, None]).square()
        return value + n * (torch.log(r) + log_sinhc(root * r.clamp(min=1e-12))) if n else value

    def score(r: Tensor) -> Tensor:
        return (r / scale[:, None]).square()

    return Inversion(log_density, score, (least - _WIDTHS * scale).clamp(min=0), most + _WIDTHS * scale)


def _mode_bounds(scale: Tensor, dims: int, curvature: float) -> tuple[Tensor, Tensor]:
    """Lower and upper bound of the most likely distance, where r / σ² = (d - 1) √c coth(√c r)."""
    n, root = dims - 1, math.sqrt(curvature)
    far, near = n * root * scale.square(), scale * math.sqrt(n)
    return torch.maximum(far, near), 0.5 * (far + torch.sqrt(far.square() + 4 * near.square()))


def _farthest(scale: Tensor, dims: int, curvature: float) -> Tensor:
    """Distance from the mean that a few percent of samples exceed."""
    return _mode_bounds(scale, dims, curvature)[1] + 2 * scale


def _widest(room: Tensor, dims: int, curvature: float) -> Tensor:
    """The scale for which a distance is the farthest, differentiable by that distance."""
    n, root = dims - 1, math.sqrt(curvature)
    fixed = room.detach()
    scale = torch.minimum(0.5 * fixed, torch.sqrt(fixed / max(n * root, 1e-30)))
    for step in range(_NUM_STEPS):  # Newton's method for a convex function, from above
        far = n * root * scale
        wide = torch.sqrt(far.square() + 4 * n + 1e-30)
        slope = far + 0.5 * (wide + far.square() / wide) + 2
        scale = scale - (_farthest(scale, dims, curvature) - (room if step + 1 == _NUM_STEPS else fixed)) / slope
    return scale
