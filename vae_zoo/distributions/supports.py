"""Supports of latents other than intervals, which compare by value: spheres, balls and products of supports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from vae_zoo.functional import ball_exp, ball_log, slerp
from vae_zoo.typing import Shape

_TOLERANCE = 1e-5
"""Allowed distance of a norm from 1, for the rounding of float32."""


class _Support(Constraint):
    """A support that equals another of the same class with the same attributes."""

    event_dim = 1

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


class Sphere(_Support):
    r"""Unit vectors, :math:`\|z\| = 1`: the sphere :math:`S^{m-1}` in m dimensions.

    Args:
        dim: Number m of dimensions of the surrounding space.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def check(self, value: Tensor) -> Tensor:
        return _is_of(value, self.dim) & ((value.norm(dim=-1) - 1).abs() < _TOLERANCE)

    def __repr__(self) -> str:
        return f"Sphere(dim={self.dim})"


class Ball(_Support):
    r"""Vectors inside a ball, :math:`c \|z\|^2 < 1`, with the metric of the Poincaré ball of curvature -c.

    Args:
        dim: Number of dimensions.
        curvature: c, above 0; the radius is :math:`1 / \sqrt{c}`.
    """

    def __init__(self, dim: int, curvature: float = 1.0) -> None:
        self.dim, self.curvature = dim, float(curvature)

    def check(self, value: Tensor) -> Tensor:
        return _is_of(value, self.dim) & (self.curvature * value.square().sum(-1) < 1)

    def __repr__(self) -> str:
        return f"Ball(dim={self.dim}, curvature={self.curvature:g})"


class OpenInterval(constraints.interval):
    """Numbers between two bounds, without the bounds."""

    def check(self, value: Tensor) -> Tensor:
        return (self.lower_bound < value) & (value < self.upper_bound)


class Product(_Support):
    """Several supports, of parts of one vector.

    Args:
        parts: Support of one element or of a whole event of each part, such as ``constraints.real``,
            ``constraints.one_hot`` or a :class:`Sphere`.
        shapes: Shape of each part, which is flattened in the vector.
    """

    def __init__(self, parts: Sequence[Constraint | None], shapes: Sequence[Shape]) -> None:
        self.parts = tuple(_Part(core(part), tuple(shape)) for part, shape in zip(parts, shapes, strict=True))

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return all(part.support.is_discrete for part in self.parts)

    def check(self, value: Tensor) -> Tensor:
        rows = zip(self.parts, value.split([part.size for part in self.parts], -1), strict=True)
        return torch.stack([part.check(row) for part, row in rows]).all(0)

    def __repr__(self) -> str:
        return f"Product({', '.join(map(repr, self.parts))})"


class _Part:
    """One of the supports of a product, and the shape of its values."""

    def __init__(self, support: Constraint, shape: Shape) -> None:
        self.support, self.shape, self.size = support, shape, math.prod(shape)

    def check(self, rows: Tensor) -> Tensor:
        """Whether flattened values (..., size) are in the support, (...)."""
        return self.support.check(rows.unflatten(-1, self.shape)).reshape(*rows.shape[:-1], -1).all(-1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part) and self.shape == other.shape and same(self.support, other.support)

    def __hash__(self) -> int:
        return hash((type(self.support), self.shape))

    def __repr__(self) -> str:
        return f"{self.support!r} of shape {self.shape}"


def core(support: Any) -> Any:
    """The support of one element, or of an event that does not consist of independent ones; None for None."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def support_of(d: Distribution) -> Constraint | None:
    """The support of one element, or of an event that does not consist of independent ones; None if unknown."""
    try:
        return core(d.support)
    except NotImplementedError:
        return None


def is_interval(support: Constraint) -> bool:
    """Whether a support is the real line or a part of it, for every element of an event."""
    return interval(support) is not None and not support.is_discrete


def is_real(support: Constraint | None) -> bool:
    """Whether a support is the whole real line for every element, or unknown."""
    return support is None or isinstance(core(support), type(constraints.real))


def can_move(support: Constraint | None) -> bool:
    """Whether values can be moved along a path inside a support: not categories, nor proportions that add up to 1."""
    if isinstance(support, Product):
        return all(can_move(part.support) for part in support.parts)
    return support is None or not (support.is_discrete or isinstance(support, type(constraints.simplex)))


def path(support: Constraint | None, start: Tensor, end: Tensor, num_steps: int) -> Tensor:
    """Evenly spaced points on the path from one value to another inside a support.

    The path is a geodesic on a sphere and in a ball, :func:`~vae_zoo.functional.slerp` for real numbers, and a straight
    line between other bounds.

    Args:
        support: Support of the values; None for real numbers.
        start: First points, (B, D).
        end: Last points, (B, D).
        num_steps: Number of points, ends included.

    Returns:
        (num_steps, B, D).

    Raises:
        TypeError: If no path leads through the support.
    """
    if not can_move(support):
        raise TypeError(f"no path leads from one value to another on {support}.")
    if isinstance(support, Product):
        sizes = [part.size for part in support.parts]
        ends = zip(support.parts, start.split(sizes, -1), end.split(sizes, -1), strict=True)
        return torch.cat([path(part.support, a, b, num_steps) for part, a, b in ends], -1)
    t = torch.linspace(0, 1, num_steps, device=start.device, dtype=start.dtype).view(-1, 1, 1)
    if isinstance(support, Sphere):
        return torch.nn.functional.normalize(slerp(start, end, num_steps), dim=-1)
    if isinstance(support, Ball):
        return ball_exp(start, t * ball_log(start, end, support.curvature), support.curvature)
    if support is None or interval(support) in (None, (-math.inf, math.inf)):
        return slerp(start.flatten(1), end.flatten(1), num_steps).unflatten(-1, start.shape[1:])
    return start + t * (end - start)


def traversals(support: Constraint | None, z: Tensor, dims: Tensor, num_steps: int, span: float) -> Tensor:
    """One coordinate of a value varied at a time inside a support, with the others fixed.

    A real coordinate goes from -span to span, and so does one in a ball, as distance along the axes at its origin. On a
    sphere it goes from -1 to 1 at evenly spaced angles, along the great circle through the value and the axis, with the
    others in proportion; between other bounds, it is exp or sigmoid of a real one.

    Args:
        support: Support of the values; None for real numbers.
        z: The value, (D,).
        dims: Coordinates to vary, (N,).
        num_steps: Number of points of each.
        span: Largest absolute value of a real coordinate.

    Returns:
        (N, num_steps, D).

    Raises:
        TypeError: If no path leads through the support.
    """
    if not can_move(support):
        raise TypeError(f"no coordinate can be varied alone on {support}.")
    rows = z.expand(len(dims), num_steps, -1).clone()
    if isinstance(support, Product):
        start = 0
        for part in support.parts:
            inside = (dims >= start) & (dims < start + part.size)
            values = z[start : start + part.size], dims[inside] - start
            rows[inside, :, start : start + part.size] = traversals(part.support, *values, num_steps, span)
            start += part.size
        return rows
    at, t = torch.arange(len(dims), device=z.device), torch.linspace(-span, span, num_steps, device=z.device).to(z)
    if isinstance(support, Ball):
        origin = torch.zeros_like(z)
        rows = ball_log(origin, rows, support.curvature)
        rows[at, :, dims] = t
        return ball_exp(origin, rows, support.curvature)
    if isinstance(support, Sphere):
        rows[at, :, dims] = 0
        angle = t * math.pi / (2 * span)
        rows = torch.nn.functional.normalize(rows, dim=-1) * torch.cos(angle)[:, None]
        rows[at, :, dims] = torch.sin(angle)
        return torch.nn.functional.normalize(rows, dim=-1)
    rows[at, :, dims] = _inside(support, t)
    return rows


def _inside(support: Constraint | None, t: Tensor) -> Tensor:
    """Real numbers brought between the bounds of an interval."""
    low, high = (None if support is None else interval(support)) or (-math.inf, math.inf)
    if math.isinf(low) and math.isinf(high):
        return t
    if math.isinf(high):
        return low + torch.exp(t)
    return high - torch.exp(-t) if math.isinf(low) else low + (high - low) * torch.sigmoid(t)


def same(a: Constraint | None, b: Constraint | None) -> bool:
    """Whether two supports are equal: by their own comparison, otherwise by class and attributes."""
    if type(a) is not type(b):
        return False
    return a == b or (type(a).__eq__ is object.__eq__ and _attributes(a) == _attributes(b))


def contains(outer: Constraint | None, inner: Constraint | None) -> bool:
    """Whether one support contains another, in the same measure.

    An interval contains smaller ones, and a product those whose parts it contains. Others contain themselves only:
    a sphere or a simplex has no volume among real numbers, and a density there is of another kind.
    """
    a, b = core(outer), core(inner)
    if isinstance(a, Product) and isinstance(b, Product) and len(a.parts) == len(b.parts):
        pairs = zip(a.parts, b.parts, strict=True)
        return all(p.shape == q.shape and contains(p.support, q.support) for p, q in pairs)
    ends, inner_ends = interval(a), interval(b)
    if ends is None or inner_ends is None or a.is_discrete != b.is_discrete:
        return same(a, b)
    return ends[0] <= inner_ends[0] and inner_ends[1] <= ends[1]


def interval(c: Any) -> tuple[float, float] | None:
    """The smallest and the largest value of an interval, with infinities; None for a support that is none."""
    if isinstance(c, type(constraints.real)):
        return -math.inf, math.inf
    low, high = getattr(c, "lower_bound", None), getattr(c, "upper_bound", None)
    if low is None and high is None:
        return None
    ends = torch.as_tensor(-math.inf if low is None else low), torch.as_tensor(math.inf if high is None else high)
    return float(ends[0].min()), float(ends[1].max())


def _attributes(c: object) -> dict[str, Any]:
    return {name: v.tolist() if isinstance(v, Tensor) else v for name, v in getattr(c, "__dict__", {}).items()}


def _is_of(value: Tensor, dim: int) -> Tensor:
    return torch.full(value.shape[:-1], value.shape[-1] == dim, device=value.device)
