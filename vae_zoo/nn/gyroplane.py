"""Networks whose first layer measures distances in the Poincaré ball."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vae_zoo.functional import ball_exp, mobius_add
from vae_zoo.nn.dense import Dense
from vae_zoo.typing import Shape


class Gyroplane(nn.Module):
    r"""Signed distances of points of the Poincaré ball from learned geodesic planes, times learned weights.

    .. math:: f_{a, p}(z) = \frac{\|a\|}{\sqrt{c}} \, \mathrm{asinh}
        \frac{2 \sqrt{c} \, \langle w, a \rangle}{(1 - c \|w\|^2) \|a\|}, \quad w = (-p) \oplus z

    In the limit of c = 0 it is affine, :math:`2 \langle z - p, a \rangle`, as planes of Euclidean space are.

    References:
        | Hyperbolic Neural Networks (Ganea et al., 2018)
        | https://arxiv.org/abs/1805.09112
        | Continuous Hierarchical Representations with Poincaré Variational Auto-Encoders (Mathieu et al., 2019)
        | https://arxiv.org/abs/1901.06033

    Args:
        in_dim: Dimensions of a point.
        out_dim: Number of planes.
        curvature: c of the ball of curvature -c.

    Raises:
        ValueError: If curvature is not positive and finite.
    """

    def __init__(self, in_dim: int, out_dim: int, *, curvature: float = 1.0) -> None:
        super().__init__()
        if not 0 < curvature < math.inf:
            raise ValueError(f"curvature must be positive and finite, got {curvature}.")
        self.curvature = float(curvature)
        bound = 1 / math.sqrt(in_dim)
        self.weight = nn.Parameter(torch.empty(out_dim, in_dim).uniform_(-bound, bound))
        self.place = nn.Parameter(torch.empty(out_dim, in_dim).uniform_(-bound, bound))

    def forward(self, z: Tensor) -> Tensor:
        """Map points (B, in_dim) to (B, out_dim)."""
        # In half precision, all points near the boundary are the same.
        with torch.autocast(z.device.type, enabled=False):
            weight, place = self.weight.float(), self.place.float()
            if z.dtype == torch.float64:
                weight, place = self.weight.double(), self.place.double()
            p = ball_exp(torch.zeros_like(place), place, self.curvature)
            w = mobius_add(-p, z.to(p.dtype).unsqueeze(-2), self.curvature)
            root, norm = math.sqrt(self.curvature), torch.sqrt(weight.square().sum(-1) + 1e-20)
            gap = (1 - self.curvature * w.square().sum(-1)).clamp(min=torch.finfo(w.dtype).eps)
            return (norm / root * torch.asinh(2 * root * (w * weight).sum(-1) / (gap * norm))).to(z.dtype)


class GyroplaneDense(nn.Module):
    """Dense layers behind a :class:`Gyroplane`: a decoder of points of the Poincaré ball.

    Args:
        in_shape: Shape of one input, (d,).
        out_shape: Shape of one output.
        hidden: Widths of the hidden layers; the first is the number of planes.
        activation: Class of the activation between the layers.
        curvature: c of the ball of curvature -c: that of the posterior.

    Raises:
        ValueError: If inputs are not vectors, there is no hidden layer, a width is less than 1, or curvature is not
            positive and finite.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        hidden: Sequence[int] = (512, 512),
        activation: Callable[[], nn.Module] = nn.ReLU,
        curvature: float = 1.0,
    ) -> None:
        super().__init__()
        if len(in_shape) != 1:
            raise ValueError(f"GyroplaneDense needs inputs that are vectors, got shape {tuple(in_shape)}.")
        if not hidden or min(hidden) < 1:
            raise ValueError(f"hidden needs at least one width, all at least 1, got {list(hidden)}.")
        self.planes = Gyroplane(in_shape[0], hidden[0], curvature=curvature)
        self.activation = activation()
        self.rest = Dense((hidden[0],), out_shape, hidden=hidden[1:], activation=activation)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, d) to (B, \\*out_shape)."""
        return self.rest(self.activation(self.planes(z)))
