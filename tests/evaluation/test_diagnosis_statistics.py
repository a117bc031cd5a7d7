"""Errors and tests behind the findings, against second sources and over repeated draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from vae_zoo.evaluation.diagnosis.statistics import difference, mean_of_rows, mmd_test, ratio, slope, told_apart


def draws(num: int, *shape: int) -> torch.Tensor:
    return torch.randn(num, *shape, generator=torch.Generator().manual_seed(num), dtype=torch.float64)


def test_the_error_of_a_mean_and_of_a_difference() -> None:
    a, b = draws(50), 2 * draws(70) + 1
    assert mean_of_rows(a).error == pytest.approx(float(a.std()) / math.sqrt(50))
    found = difference(a, b)
    assert found.value == pytest.approx(float(a.mean() - b.mean()))
    assert found.error == pytest.approx(math.sqrt(float(a.var()) / 50 + float(b.var()) / 70))
    assert mean_of_rows(a[:1]).error == math.inf


def test_the_error_of_a_ratio_is_that_of_repeated_draws() -> None:
    torch.manual_seed(0)
    base = 3 + torch.randn(400, 100).double()
    other = 0.5 * base + 0.4 * torch.randn(400, 100)
    found = [ratio(a, b) for a, b in zip(other, base, strict=True)]
    spread = np.std([estimate.value for estimate in found])
    assert np.mean([estimate.error for estimate in found]) == pytest.approx(spread, rel=0.12)


def test_the_slope_of_a_line_and_its_error() -> None:
    from scipy.stats import linregress

    values = 0.3 * torch.arange(20) + draws(20)
    found, second = slope(values), linregress(np.arange(20), values.numpy())
    assert (found.value, found.error) == pytest.approx((second.slope, second.stderr))


def test_samples_of_one_distribution_are_not_told_apart() -> None:
    """The area is 1/2 on average, and as far from it as its error says."""
    torch.manual_seed(0)
    found = [told_apart(torch.randn(80, 12), torch.randn(60, 12), seed=n) for n in range(60)]
    values, errors = np.array([f.value for f in found]), np.array([f.error for f in found])
    assert values.mean() == pytest.approx(0.5, abs=4 * values.std() / math.sqrt(60))
    assert values.std() == pytest.approx(errors.mean(), rel=0.4)


@pytest.mark.parametrize("shift", [0.5, 2.0])
def test_the_area_of_shifted_normal_distributions(shift: float) -> None:
    r"""In theory :math:`\Phi(\delta / \sqrt 2)` for means that are δ apart."""
    from scipy.stats import norm

    torch.manual_seed(0)
    found = told_apart(torch.randn(1500, 1) + shift, torch.randn(1500, 1))
    assert found.value == pytest.approx(norm.cdf(shift / math.sqrt(2)), abs=3 * found.error)


def test_a_difference_of_spread_is_seen() -> None:
    torch.manual_seed(0)
    assert told_apart(2 * torch.randn(300, 4), torch.randn(300, 4)).low > 0.75


def test_p_values_of_one_distribution_are_uniform() -> None:
    torch.manual_seed(0)
    chances = [mmd_test(torch.randn(25, 3), torch.randn(25, 3), num_permutations=99, seed=n)[1] for n in range(200)]
    assert np.mean(np.array(chances) <= 0.1) == pytest.approx(0.1, abs=0.065)  # 3 errors of a share of 200
    assert np.mean(chances) == pytest.approx(0.5, abs=0.065)


def test_p_values_of_two_distributions_are_small() -> None:
    torch.manual_seed(0)
    value, chance = mmd_test(torch.randn(100, 3) + 1, torch.randn(80, 3))
    assert value > 0.1
    assert chance == pytest.approx(1 / 501)
