from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from vae_zoo.distributions.sphere.inversion import Inversion

SHAPES = torch.tensor([1.0, 2.5, 40.0], dtype=torch.float64)
U = torch.tensor([1e-8, 1e-3, 0.2, 0.5, 0.9, 1 - 1e-6], dtype=torch.float64).expand(3, -1)


def gamma(shape: Tensor) -> Inversion:
    """Gamma distributions, some of which have a density of 0 at their start."""

    def log_density(t: Tensor) -> Tensor:
        return torch.xlogy(shape[:, None] - 1, t) - t

    high = shape + 14 * shape.sqrt() + 20
    return Inversion(log_density, torch.log, torch.zeros_like(shape), high)


def test_quantiles_of_gamma() -> None:
    t, _ = gamma(SHAPES).solve(U)
    exact = torch.stack([torch.from_numpy(stats.gamma(a).ppf(U[0].numpy())) for a in SHAPES.tolist()])
    torch.testing.assert_close(t[[0, 2]], exact[[0, 2]], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(gamma(SHAPES).cdf(t)[[0, 2]], U[[0, 2]], rtol=0, atol=1e-8)


def test_normaliser_and_its_derivative() -> None:
    table = gamma(SHAPES[[0, 2]])
    torch.testing.assert_close(table.log_norm, torch.lgamma(SHAPES[[0, 2]]), rtol=0, atol=1e-9)
    torch.testing.assert_close(table.mean_score[1], torch.digamma(SHAPES[2]), rtol=1e-9, atol=0)


@pytest.mark.parametrize("shape", [3.0, 40.0])
def test_derivative_is_that_of_the_quantile(shape: float) -> None:
    step, u = 1e-4, U[:1, 1:5]
    _, slope = gamma(torch.tensor([shape], dtype=torch.float64)).solve(u)
    ends = [torch.from_numpy(stats.gamma(shape + s).ppf(u[0].numpy())) for s in (-step, step)]
    torch.testing.assert_close(slope[0], (ends[1] - ends[0]) / (2 * step), rtol=1e-4, atol=1e-6)


def test_a_narrow_density_of_any_height() -> None:
    """Only differences of the log-density matter, and its exponential may overflow."""
    scale = torch.tensor([1e-3], dtype=torch.float64)

    def log_density(t: Tensor) -> Tensor:
        return 5000 - 0.5 * (t / scale[:, None]).square()

    table = Inversion(log_density, torch.zeros_like, -9 * scale, 9 * scale)
    t, slope = table.solve(torch.tensor([[0.5, stats.norm.cdf(2)]], dtype=torch.float64))
    torch.testing.assert_close(t, torch.tensor([[0.0, 2e-3]], dtype=torch.float64), rtol=1e-9, atol=1e-12)
    assert (slope == 0).all()
    assert math.isclose(table.log_norm.item(), 5000 + math.log(1e-3 * math.sqrt(2 * math.pi)), abs_tol=1e-9)
