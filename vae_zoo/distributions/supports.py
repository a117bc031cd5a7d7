"""Supports of latents that are no intervals, which compare by value: spheres, balls and products of supports."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints
from torch.distributions.constraints import Constraint

from vae_zoo.typing import Shape

_ONE_HOT = type(constraints.one_hot)

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

    def __init__(self, parts: Sequence[Constraint], shapes: Sequence[Shape]) -> None:
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
        return self.support.check(rows.unflatten(-1, self.shape)).flatten(rows.ndim - 1).all(-1)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Part) and self.shape == other.shape and same(self.support, other.support)

    def __hash__(self) -> int:
        return hash((type(self.support), self.shape))

    def __repr__(self) -> str:
        return f"{self.support!r} of shape {self.shape}"


def core(support: Any) -> Any:
    """The support of one element, or of an event that is not made of independent ones; None for None."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def support_of(d: Distribution) -> Constraint | None:
    """The support of one element, or of an event that is not made of independent ones; None if it is not stated."""
    try:
        return core(d.support)
    except NotImplementedError:
        return None


def is_interval(support: Constraint) -> bool:
    """Whether a support is the real line or a part of it, for every element of an event."""
    return _interval(support) is not None and not support.is_discrete


def can_move(support: Constraint | None) -> bool:
    """Whether values can be moved along a path inside a support: not categories, nor proportions that add up to 1."""
    if isinstance(support, Product):
        return all(can_move(part.support) for part in support.parts)
    return support is None or not (support.is_discrete or isinstance(support, (type(constraints.simplex), _ONE_HOT)))


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
    ends, inner_ends = _interval(a), _interval(b)
    if ends is None or inner_ends is None or a.is_discrete != b.is_discrete:
        return same(a, b)
    return ends[0] <= inner_ends[0] and inner_ends[1] <= ends[1]


def _interval(c: Any) -> tuple[float, float] | None:
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
