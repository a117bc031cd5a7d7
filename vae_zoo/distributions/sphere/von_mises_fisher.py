"""The von Mises–Fisher distribution on the sphere."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.divergence import register_kl
from vae_zoo.distributions.families import Family
from vae_zoo.distributions.sphere.bessel import log_bessel_and_ratio, widened
from vae_zoo.distributions.sphere.inversion import Inversion
from vae_zoo.distributions.sphere.uniform import Uniform, check_dims, log_area
from vae_zoo.distributions.supports import Sphere
from vae_zoo.typing import Shape

_LEAST = 1e-8
"""Concentration and norm below which numbers count as 0."""


class VMF(Distribution):
    r"""The von Mises–Fisher distribution on the sphere :math:`S^{m-1}` of unit vectors in m dimensions.

    .. math:: \log p(z) = \kappa \, \mu^\top z + (\tfrac{m}{2} - 1) \log \kappa - \tfrac{m}{2} \log 2 \pi
        - \log I_{m/2 - 1}(\kappa)

    The density is with respect to the area of the sphere, in float64. A sample is a pole turned to μ by a Householder
    reflection; its angle to μ is drawn by inversion, so that samples have the exact derivative by κ, without rejection:
    see :class:`~vae_zoo.distributions.sphere.inversion.Inversion`.

    References:
        | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018)
        | https://arxiv.org/abs/1804.00891

    Args:
        loc: Mean directions μ, unit vectors, (\*batch, m).
        concentration: Concentrations κ, above 0, (\*batch).

    Attributes:
        resultant: Length A of the mean vector, which lies inside the sphere: :math:`\mathbb{E}[z] = A \mu`.
        log_norm: Logarithm of the integral of :math:`e^{\kappa (\mu^\top z - 1)}` over the sphere.
    """

    has_rsample = True
    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, loc: Tensor, concentration: Tensor) -> None:
        self.dtype, self.dim = loc.dtype, loc.shape[-1]
        self.loc, self.concentration = widened(loc), widened(concentration)
        log_bessel, self.resultant = log_bessel_and_ratio(self.dim / 2 - 1, self.concentration)
        self.log_norm = self.dim / 2 * math.log(2 * math.pi) + (log_bessel - self.concentration)
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return Sphere(self.dim)

    @property
    def mean(self) -> Tensor:
        """The mean on the sphere, μ: the point with the least mean squared distance."""
        return self.loc.to(self.dtype)

    @property
    def variance(self) -> Tensor:
        """Variance of each coordinate of the surrounding space around the mean vector."""
        a, m = self.resultant[..., None], self.dim
        each = a / self.concentration[..., None]
        return (each + (1 - m * each - a.square()) * self.loc.square()).clamp(min=0).to(self.dtype)

    def expand(self, batch_shape: Any, _instance: Any = None) -> VMF:
        shape = torch.Size(batch_shape)
        return VMF(self.loc.expand(*shape, self.dim).to(self.dtype), self.concentration.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        # κ would multiply the rounding error of a sample's norm; the squared distance is less sensitive to it.
        distance = (widened(value) - self.loc).square().sum(-1)
        return (-0.5 * self.concentration * distance - self.log_norm).to(self.dtype)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        angle = self._angles(torch.Size(sample_shape))[..., None]
        # Keeps a direction of 0 from dividing by 0, and changes no other.
        other = torch.randn((*shape[:-1], self.dim - 1), dtype=self.loc.dtype, device=self.loc.device) + 1e-30
        away = torch.sin(angle) * other / torch.linalg.vector_norm(other, dim=-1, keepdim=True)
        first = self.loc[..., :1]
        sign = torch.where(first < 0, -1.0, 1.0)  # the reflection of the pole farther from μ never divides by 0
        x = torch.cat([-sign * torch.cos(angle), away], -1)
        normal = torch.cat([first + sign, self.loc[..., 1:]], -1)
        return (x - normal * (normal * x).sum(-1, keepdim=True) / (1 + sign * first)).to(self.dtype)

    def _angles(self, sample_shape: torch.Size) -> Tensor:
        """Angles between samples and μ, with their derivatives by κ."""
        k = self.concentration.reshape(-1)
        u = torch.rand((len(k), sample_shape.numel()), dtype=k.dtype, device=k.device)
        angle, slope = angles(k.detach(), self.dim).solve(u)
        angle = angle + slope * (k - k.detach())[:, None]
        return angle.T.reshape(sample_shape + self.batch_shape)


class VonMisesFisher(Family):
    r"""Unit vectors of the von Mises–Fisher distribution: mean direction and concentration from the network.

    .. math:: q(z|x) \propto e^{\kappa \mu^\top z}, \quad \mu = \frac{h}{\|h\|}, \quad
        \kappa = \kappa_{\min} + \log(1 + e^a), \quad \|z\| = 1

    A latent of m numbers is a point on the sphere of m - 1 dimensions, which is the number in papers. The network
    outputs m + 1 numbers, h and a. The mean of the distribution is μ, a point on the sphere.

    References:
        | Hyperspherical Variational Auto-Encoders (Davidson et al., 2018)
        | https://arxiv.org/abs/1804.00891

    Args:
        shape: Shape of one event, (m,) with m of at least 2.
        min_concentration: Lower bound of κ.
        max_concentration: Upper bound of κ.

    Raises:
        ValueError: If events are not vectors of at least 2 numbers, or the bounds are not positive or leave no room.
    """

    def __init__(self, shape: Shape, *, min_concentration: float = 1.0, max_concentration: float = 1e5) -> None:
        super().__init__(shape)
        check_dims("VonMisesFisher", self.shape)
        if not 0 < min_concentration < max_concentration < math.inf:
            raise ValueError(
                "min_concentration must be above 0 and below max_concentration, which must be finite, got "
                f"{min_concentration} and {max_concentration}."
            )
        self.min_concentration, self.max_concentration = min_concentration, max_concentration

    @property
    def param_shape(self) -> Shape:
        return (self.shape[0] + 1,)

    def distribution(self, params: Tensor) -> Distribution:
        direction, raw = widened(params[..., :-1]), params[..., -1]
        norm = torch.linalg.vector_norm(direction, dim=-1, keepdim=True)
        pole = F.one_hot(torch.zeros_like(raw, dtype=torch.long), self.shape[0]).to(direction)
        unit = torch.where(norm < _LEAST, pole, direction) / torch.where(norm < _LEAST, 1.0, norm)
        concentration = widened(self.min_concentration + F.softplus(raw)).clamp(max=self.max_concentration)
        return VMF(unit.to(params.dtype), concentration)


@register_kl(VMF, Uniform)
def _vmf_uniform(q: VMF, p: Any, event_dims: int) -> Tensor:  # noqa: ARG001
    kl = q.concentration * (q.resultant - 1) - q.log_norm + log_area(q.dim)
    return kl.unsqueeze(-1).to(q.dtype)


def angles(concentration: Tensor, dim: int) -> Inversion:
    r"""The distribution of the angle t between samples and mean direction, with the derivative by κ.

    .. math:: p(t) \propto e^{\kappa \cos t} \sin^{m - 2} t, \quad 0 \le t \le \pi

    Args:
        concentration: Concentrations κ, (R,).
        dim: Number m of dimensions of the surrounding space.
    """
    k, n = concentration.clamp(min=_LEAST), dim - 2
    cos = 2 * k / (n + torch.sqrt(n**2 + 4 * k.square()))  # of the mode
    sin = torch.sqrt(n * cos / k)
    mode, curvature = torch.atan2(sin, cos), k * cos + (n / sin.square() if n else 0)
    # The density falls faster than a normal one before the mode, and more slowly behind it.
    low, high = (mode - 9 * curvature.rsqrt()).clamp(min=0), (mode + 14 * curvature.rsqrt()).clamp(max=math.pi)

    def log_density(t: Tensor) -> Tensor:
        value = k[:, None] * (torch.cos(t) - cos[:, None])
        return value + n * torch.log(torch.sin(t).abs() / sin[:, None]) if n else value

    return Inversion(log_density, torch.cos, low, high)
