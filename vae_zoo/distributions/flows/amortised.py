"""Flows whose steps get all their parameters from the network: planar, radial and Sylvester flows."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import normalize, softplus

from vae_zoo.distributions.families import Family
from vae_zoo.distributions.flows.autoregressive import Flow
from vae_zoo.functional import expm1_minus
from vae_zoo.typing import Shape

_MAX_LOG_SCALE = 7.0
_MIN_LOG_SLOPE = -7.0
"""Lower bound of the log-slope of a step, so that an inverse in float32 is still accurate."""
_HALVINGS = 40


def increasing(product: Tensor) -> tuple[Tensor, Tensor]:
    r"""The nearest slope s to a product r of two weights with which a step t + s tanh t increases everywhere.

    .. math:: s = \begin{cases} r & r \ge 0 \\ e^{\max(r, -7)} - 1 & r < 0 \end{cases}

    Args:
        product: Products r, any shape.

    Returns:
        Slopes s, and s - r, which is exact near 0: each the shape of r.
    """
    below = product.clamp(_MIN_LOG_SLOPE, 0.0)
    slope = torch.where(product < 0, torch.expm1(below), product)  # a clamp has no derivative at its end
    return slope, expm1_minus(below) + (below - product).clamp(min=0.0)


def solve(t: Tensor, slope: Tensor) -> Tensor:
    r"""The solution a of a + s tanh a = t, for slopes s above -1.

    Bisection, then one step of Newton's method, through which gradients pass to t and s.

    Args:
        t: Any shape.
        slope: Slopes s, of a shape that broadcasts.
    """
    with torch.no_grad():
        low, high = t - slope.abs(), t + slope.abs()
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            over = middle + slope * torch.tanh(middle) > t
            low, high = torch.where(over, low, middle), torch.where(over, middle, high)
        a = (low + high) / 2
        rise = _derivative(a, slope)
    return a - (a + slope * torch.tanh(a) - t) / rise


def _derivative(a: Tensor, slope: Tensor) -> Tensor:
    """Derivative 1 + s (1 - tanh² a), as a sum of terms of at least 0."""
    square = torch.tanh(a).square()
    return square + (1 - square) * (1 + slope)


class Planar(NamedTuple):
    """One planar step y = x + û tanh(wᵀx + b).

    Args:
        u: Displacement û, (\\*batch, D).
        w: Normal w of the planes, (\\*batch, D).
        b: Shift b, (\\*batch,).
        slope: Product wᵀû, above -1, (\\*batch,).
    """

    u: Tensor
    w: Tensor
    b: Tensor
    slope: Tensor

    @classmethod
    def of(cls, params: Tensor) -> Planar:
        """The step with parameters u, w and b, (\\*batch, 2 D + 1), in which u is made invertible."""
        dim = params.shape[-1] // 2
        u, w, b = params.split([dim, dim, 1], -1)
        product, norm = (u * w).sum(-1), w.square().sum(-1).clamp(min=1e-12)
        slope, shift = increasing(product)
        return cls(u + (shift / norm)[..., None] * w, w, b.squeeze(-1), slope)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = (x * self.w).sum(-1) + self.b
        return x + self.u * torch.tanh(a)[..., None], torch.log(_derivative(a, self.slope))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        a = solve((y * self.w).sum(-1) + self.b, self.slope)
        return y - self.u * torch.tanh(a)[..., None], -torch.log(_derivative(a, self.slope))


class Radial(NamedTuple):
    """One radial step, which moves points on rays from a centre: their distance r becomes r (r + γ) / (r + α).

    Args:
        centre: Centre, (\\*batch, D).
        alpha: α, above 0, (\\*batch,).
        gamma: γ = α + β̂, above 0, (\\*batch,).
    """

    centre: Tensor
    alpha: Tensor
    gamma: Tensor

    @classmethod
    def of(cls, params: Tensor) -> Radial:
        """The step with a centre and the logarithms, by softplus, of α and γ, (\\*batch, D + 2)."""
        least = math.exp(_MIN_LOG_SLOPE)
        return cls(params[..., :-2], softplus(params[..., -2]) + least, softplus(params[..., -1]) + least)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        away = x - self.centre
        r = torch.linalg.vector_norm(away, dim=-1)
        ratio = (r + self.gamma) / (r + self.alpha)
        return self.centre + ratio[..., None] * away, self._log_slope(r, x.shape[-1])

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        away = y - self.centre
        distance = torch.linalg.vector_norm(away, dim=-1)
        b, c = self.gamma - distance, distance * self.alpha  # the root of r² + b r - c above 0, without cancellation
        root = torch.sqrt(b.square() + 4 * c)
        r = torch.where(b > 0, 2 * c / (b.abs() + root), (b.abs() + root) / 2)
        ratio = (r + self.alpha) / (r + self.gamma)
        return self.centre + ratio[..., None] * away, -self._log_slope(r, y.shape[-1])

    def _log_slope(self, r: Tensor, dim: int) -> Tensor:
        alpha, gamma = self.alpha, self.gamma
        below = torch.log(r + alpha)
        along = torch.log(r.square() + 2 * alpha * r + alpha * gamma) - 2 * below
        return (dim - 1) * (torch.log(r + gamma) - below) + along


class Sylvester(NamedTuple):
    """One Sylvester step y = x + Q R tanh(S Qᵀx + b), with orthonormal columns Q and upper triangular R and S.

    Args:
        columns: Q, (\\*batch, D, M).
        outer: R, (\\*batch, M, M).
        inner: S, (\\*batch, M, M).
        b: Shift b, (\\*batch, M).
        slope: Products of the diagonals of R and S, above -1, (\\*batch, M).
    """

    columns: Tensor
    outer: Tensor
    inner: Tensor
    b: Tensor
    slope: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = _times(self.inner, _times(self.columns.mT, x)) + self.b
        y = x + _times(self.columns, _times(self.outer, torch.tanh(a)))
        return y, torch.log(_derivative(a, self.slope)).sum(-1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        t = _times(self.inner, _times(self.columns.mT, y)) + self.b
        both = (self.inner.unsqueeze(-1) * self.outer.unsqueeze(-3)).sum(-2)  # in float32 under autocast too
        found: list[Tensor] = []
        for i in reversed(range(t.shape[-1])):  # the last equation has one unknown
            rest = t[..., i]
            for j, a in enumerate(found, i + 1):
                rest = rest - both[..., i, j] * torch.tanh(a)
            found.insert(0, solve(rest, self.slope[..., i]))
        a = torch.stack(found, -1)
        x = y - _times(self.columns, _times(self.outer, torch.tanh(a)))
        return x, -torch.log(_derivative(a, self.slope)).sum(-1)


def _times(matrix: Tensor, vector: Tensor) -> Tensor:
    return (matrix * vector.unsqueeze(-2)).sum(-1)


class _AmortisedFlow(Family):
    """Base of flows with a number of steps, each of which takes the same number of parameters."""

    def __init__(self, shape: Shape, *, num_transforms: int) -> None:
        super().__init__(shape)
        if num_transforms < 1:
            raise ValueError(f"num_transforms must be at least 1, got {num_transforms}.")
        self.num_dims, self.num_transforms = math.prod(self.shape), num_transforms

    @property
    def step_size(self) -> int:
        """Number of parameters of a step."""
        raise NotImplementedError

    def step(self, params: Tensor) -> Any:
        """A step with these parameters, (\\*batch, step_size)."""
        raise NotImplementedError

    @property
    def param_shape(self) -> Shape:
        return (2 * self.num_dims + self.num_transforms * self.step_size,)

    def distribution(self, params: Tensor) -> Distribution:
        loc, log_scale, rest = params.tensor_split([self.num_dims, 2 * self.num_dims], -1)
        steps = [self.step(part) for part in rest.unflatten(-1, (self.num_transforms, -1)).unbind(-2)]
        log_scale = log_scale.clamp(-_MAX_LOG_SCALE, _MAX_LOG_SCALE)
        return Flow(steps, loc, log_scale, self.shape, sampler=True)


class PlanarFlow(_AmortisedFlow):
    r"""Planar flow: each step stretches or squeezes the noise across a plane, which differs between examples.

    .. math:: z = \mu + \sigma \, f_T \circ \dots \circ f_1(\epsilon), \quad
        f_t(v) = v + \hat u_t \tanh(w_t^\top v + b_t), \quad
        \log \Big| \det \frac{\partial f_t}{\partial v} \Big| = \log(1 + (1 - \tanh^2) \, w_t^\top \hat u_t)

    The network outputs μ, log σ and each step's u, w and b. A step is invertible if :math:`w^\top \hat u > -1`; u is
    shifted along w where it is not. The paper replaces :math:`w^\top u` by softplus - 1; here it is kept from 0 on and
    replaced by exp - 1 below, so that invertible steps are unchanged and there is no singularity at w = 0. μ and σ
    are applied last, whereas the paper applies them first: the same distributions, with steps on noise of unit scale.
    A sample and its density take one pass; the density at another point takes a bisection per step.

    References:
        | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015)
        | https://arxiv.org/abs/1505.05770

    Args:
        shape: Shape of one event.
        num_transforms: Number of steps T.

    Raises:
        ValueError: If num_transforms is less than 1.
    """

    def __init__(self, shape: Shape, *, num_transforms: int = 8) -> None:
        super().__init__(shape, num_transforms=num_transforms)

    @property
    def step_size(self) -> int:
        return 2 * self.num_dims + 1

    def step(self, params: Tensor) -> Planar:
        return Planar.of(params)


class RadialFlow(_AmortisedFlow):
    r"""Radial flow: each step moves the noise towards a point or away from it.

    .. math:: z = \mu + \sigma \, f_T \circ \dots \circ f_1(\epsilon), \quad
        f_t(v) = v + \frac{\hat\beta_t (v - c_t)}{\alpha_t + r}, \quad r = \|v - c_t\|, \quad
        \hat\beta_t = \gamma_t - \alpha_t

    The network outputs μ, log σ and each step's centre c, α and γ; the last two are positive by softplus. Unlike in
    the paper, μ and σ are applied last, so that the moved regions are ellipsoids of the shape of σ. Both directions
    are in closed form.

    References:
        | Variational Inference with Normalizing Flows (Rezende and Mohamed, 2015)
        | https://arxiv.org/abs/1505.05770

    Args:
        shape: Shape of one event.
        num_transforms: Number of steps T.

    Raises:
        ValueError: If num_transforms is less than 1.
    """

    def __init__(self, shape: Shape, *, num_transforms: int = 8) -> None:
        super().__init__(shape, num_transforms=num_transforms)

    @property
    def step_size(self) -> int:
        return self.num_dims + 2

    def step(self, params: Tensor) -> Radial:
        return Radial.of(params)


class SylvesterFlow(_AmortisedFlow):
    r"""Householder Sylvester flow: planar steps in several orthogonal directions at a time.

    .. math:: z = \mu + \sigma \, f_T \circ \dots \circ f_1(\epsilon), \quad
        f_t(v) = v + Q_t R_t \tanh(S_t Q_t^\top v + b_t), \quad Q_t = \prod_h (I - 2 n_h n_h^\top)

    The network outputs μ, log σ and each step's upper triangular R and S, its shift b and its reflections' normals n.
    A step is invertible if :math:`R_{ii} S_{ii} > -1`, which is ensured as in :class:`PlanarFlow`, the case of one
    column; the paper squashes both diagonals by tanh. A density at a point that was not drawn takes a bisection for
    each column of each step.

    References:
        | Sylvester Normalizing Flows for Variational Inference (van den Berg et al., 2018)
        | https://arxiv.org/abs/1803.05649

    Args:
        shape: Shape of one event.
        num_transforms: Number of steps T.
        num_columns: Columns M of Q, at most the number of dimensions D; by default all of them.
        num_reflections: Householder reflections of each step.

    Raises:
        ValueError: If a number is less than 1, or num_columns exceeds the number of dimensions.
    """

    def __init__(
        self, shape: Shape, *, num_transforms: int = 4, num_columns: int | None = None, num_reflections: int = 4
    ) -> None:
        super().__init__(shape, num_transforms=num_transforms)
        self.num_columns = self.num_dims if num_columns is None else num_columns
        self.num_reflections = num_reflections
        if not 1 <= self.num_columns <= self.num_dims:
            raise ValueError(f"num_columns must be from 1 to the {self.num_dims} dimensions, got {num_columns}.")
        if num_reflections < 1:
            raise ValueError(f"num_reflections must be at least 1, got {num_reflections}.")

    @property
    def step_size(self) -> int:
        num = self.num_columns
        return 2 * (num * (num + 1) // 2) + num + self.num_reflections * self.num_dims

    def step(self, params: Tensor) -> Sylvester:
        num, above = self.num_columns, self.num_columns * (self.num_columns - 1) // 2
        sizes = [num, num, num, above, above, self.num_reflections * self.num_dims]
        outer, inner, b, outer_above, inner_above, normals = params.split(sizes, -1)
        slope, shift = increasing(outer * inner)
        outer = outer + inner * (shift / inner.square().clamp(min=1e-12))
        columns = self._columns(normals.unflatten(-1, (self.num_reflections, self.num_dims)))
        return Sylvester(columns, self._upper(outer, outer_above), self._upper(inner, inner_above), b, slope)

    def _upper(self, diagonal: Tensor, above: Tensor) -> Tensor:
        """Upper triangular matrices, (\\*batch, M, M)."""
        num = self.num_columns
        rows, columns = torch.triu_indices(num, num, 1, device=above.device)
        flat = above.new_zeros(*above.shape[:-1], num * num).index_copy(-1, rows * num + columns, above)
        return flat.unflatten(-1, (num, num)) + torch.diag_embed(diagonal)

    def _columns(self, normals: Tensor) -> Tensor:
        """Orthonormal columns, (\\*batch, D, M), by reflections with these normals, (\\*batch, H, D)."""
        columns = torch.eye(self.num_dims, self.num_columns, dtype=normals.dtype, device=normals.device)
        for n in normals.unbind(-2):
            n = normalize(n, dim=-1)
            columns = columns - 2 * n.unsqueeze(-1) * (n.unsqueeze(-1) * columns).sum(-2, keepdim=True)
        return columns
