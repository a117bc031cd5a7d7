from __future__ import annotations

import math

import pytest
import torch
from scipy.optimize import minimize_scalar

from vae_zoo.functional import ball_distance, ball_exp
from vae_zoo.nn import Gyroplane, GyroplaneDense


def test_is_the_distance_from_a_geodesic() -> None:
    """Of the disc: the geodesic through p across a, on which the nearest point is found by search."""
    torch.manual_seed(0)
    layer = Gyroplane(2, 1).double()
    a, p = layer.weight[0].detach(), ball_exp(torch.zeros(2).double(), layer.place[0].detach(), 1.0)
    across = torch.stack([-a[1], a[0]]) / a.norm()
    z = torch.tensor([[0.4, -0.2], [-0.3, 0.6]], dtype=torch.float64)
    for point, found in zip(z, layer(z)[:, 0].tolist(), strict=True):

        def distance(t: float, point: torch.Tensor = point) -> float:
            return ball_distance(ball_exp(p, t * across, 1.0), point, 1.0).item()

        nearest = minimize_scalar(distance, bounds=(-8, 8), method="bounded", options={"xatol": 1e-9}).fun
        assert abs(found) == pytest.approx(a.norm().item() * nearest, rel=1e-6)


def test_without_curvature_it_is_affine() -> None:
    torch.manual_seed(0)
    layer = Gyroplane(3, 4, curvature=1e-9).double()
    z = torch.randn(5, 3, dtype=torch.float64)
    p = 0.5 * layer.place
    torch.testing.assert_close(layer(z), 2 * (z @ layer.weight.T - (p * layer.weight).sum(-1)), rtol=1e-5, atol=1e-6)


def test_finite_at_the_boundary_and_in_half_precision() -> None:
    network = GyroplaneDense((2,), (1, 3, 3), hidden=[8, 4])
    z = torch.tensor([[1 - 1e-5, 0.0], [0.0, 0.0]], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = network(z)
    assert out.shape == (2, 1, 3, 3)
    out.float().sum().backward()
    assert z.grad is not None
    assert z.grad.isfinite().all()


def test_arguments() -> None:
    with pytest.raises(ValueError, match="needs inputs that are vectors"):
        GyroplaneDense((1, 3, 3), (4,))
    with pytest.raises(ValueError, match="hidden needs at least one width"):
        GyroplaneDense((2,), (4,), hidden=[])
    with pytest.raises(ValueError, match="curvature must be positive and finite, got 0"):
        Gyroplane(2, 3, curvature=0)
    assert math.isfinite(Gyroplane(2, 3).curvature)
