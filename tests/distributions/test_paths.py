"""Paths between latents, and single coordinates varied, inside every support."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import constraints

from vae_zoo.distributions.supports import Ball, Product, Sphere, path, traversals
from vae_zoo.functional import ball_distance, slerp

REAL, POSITIVE, UNIT = constraints.real, constraints.positive, constraints.unit_interval
JOINED = Product([Sphere(3), REAL, POSITIVE], [(3,), (2,), (1,)])
SUPPORTS = [None, REAL, POSITIVE, UNIT, Sphere(6), Ball(6, 0.5), JOINED]


def points(support: Any, num: int) -> torch.Tensor:
    torch.manual_seed(0)
    z = torch.rand(num, 6, dtype=torch.float64)
    if support == JOINED:
        z[:, :3] = torch.nn.functional.normalize(z[:, :3] - 0.5, dim=-1)
    if isinstance(support, Sphere):
        return torch.nn.functional.normalize(z - 0.5, dim=-1)
    return z - 0.5 if isinstance(support, Ball) or support in (None, REAL) else z


def inside(support: Any, z: torch.Tensor) -> bool:
    return support is None or bool(support.check(z).all())


@pytest.mark.parametrize("support", SUPPORTS, ids=str)
def test_a_path_stays_inside_and_has_both_ends(support: Any) -> None:
    start, end = points(support, 10).chunk(2)
    way = path(support, start, end, 7)
    assert way.shape == (7, 5, 6)
    torch.testing.assert_close(way[0], start)
    torch.testing.assert_close(way[-1], end)
    assert inside(support, way)


def test_geodesics_are_shortest_and_evenly_spaced() -> None:
    start, end = points(Sphere(6), 10).chunk(2)
    way = path(Sphere(6), start, end, 7)
    angles = torch.arccos((way[:-1] * way[1:]).sum(-1))
    whole = torch.arccos((start * end).sum(-1))
    torch.testing.assert_close(angles, (whole / 6).expand(6, -1))
    start, end = points(Ball(6, 0.5), 10).chunk(2)
    way = path(Ball(6, 0.5), start, end, 7)
    steps = ball_distance(way[:-1], way[1:], 0.5)
    torch.testing.assert_close(steps, (ball_distance(start, end, 0.5) / 6).expand(6, -1))
    assert not torch.allclose(way, slerp(start, end, 7))


def test_real_latents_keep_their_path() -> None:
    start, end = points(REAL, 10).chunk(2)
    for support in (REAL, None):
        assert torch.equal(path(support, start, end, 7), slerp(start, end, 7))


@pytest.mark.parametrize("support", SUPPORTS, ids=str)
def test_a_traversal_stays_inside_and_varies_one_coordinate(support: Any) -> None:
    z, dims = points(support, 1)[0], torch.tensor([5, 0, 3])
    rows = traversals(support, z, dims, 9, 2.0)
    assert rows.shape == (3, 9, 6)
    assert inside(support, rows)
    for row, dim in zip(rows, dims.tolist(), strict=True):
        assert (row[:, dim].diff() > 0).all()
        others = [n for n in range(6) if n != dim]
        if not isinstance(support, (Sphere, Ball)) and (support != JOINED or dim > 2):
            assert torch.equal(row[:, others], z[others].expand(9, -1))
        if isinstance(support, Sphere):
            ratios = row[1:-1, others] / z[others]
            torch.testing.assert_close(ratios, ratios[:, :1].expand(-1, 5))


def test_values_of_traversals() -> None:
    z, one = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([1])
    assert traversals(REAL, z, one, 3, 2.0)[0, :, 1].tolist() == [-2, 0, 2]
    assert traversals(Sphere(2), z / z.norm(), one, 3, 2.0)[0, :, 1].tolist() == pytest.approx([-1, 0, 1])
    assert traversals(POSITIVE, z, one, 3, 2.0)[0, :, 1].tolist() == pytest.approx([math.exp(-2), 1, math.exp(2)])
    ends = traversals(Ball(2), torch.zeros(2, dtype=torch.float64), one, 3, 2.0)[0]
    assert ball_distance(ends[0], ends[2], 1.0).item() == pytest.approx(4)


@pytest.mark.parametrize("support", [constraints.simplex, constraints.one_hot, Product([constraints.one_hot], [(6,)])])
def test_where_nothing_moves(support: Any) -> None:
    z = torch.eye(6)
    with pytest.raises(TypeError, match=r"^no path leads from one value to another on [^\n]*$"):
        path(support, z, z, 3)
    with pytest.raises(TypeError, match=r"^no coordinate can be varied alone on [^\n]*$"):
        traversals(support, z[0], torch.tensor([0]), 3, 1.0)
