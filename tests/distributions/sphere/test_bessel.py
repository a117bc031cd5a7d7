from __future__ import annotations

import mpmath
import pytest
import torch

from vae_zoo.distributions.sphere.bessel import bessel_ratio, log_bessel, log_bessel_and_ratio

ORDERS = [0, 0.5, 1, 4, 9.5, 10, 31, 127, 255, 256]
VALUES = [1e-3, 0.1, 1, 10, 1e3, 1e5]


@pytest.fixture(autouse=True)
def _digits() -> None:
    mpmath.mp.dps = 40


@pytest.mark.parametrize("order", ORDERS)
def test_agrees_with_many_digits(order: float) -> None:
    x = torch.tensor(VALUES, dtype=torch.float64)
    exact = [mpmath.log(mpmath.besseli(order, value)) for value in VALUES]
    ratio = [mpmath.besseli(order + 1, v) / mpmath.besseli(order, v) for v in VALUES]
    found = zip(log_bessel(order, x).tolist(), exact, bessel_ratio(order, x).tolist(), ratio, strict=True)
    for log_value, exact_log, a, exact_a in found:
        assert abs(log_value - exact_log) <= 1e-12 * max(1, abs(exact_log))
        assert abs(a - exact_a) <= 1e-12 * exact_a


@pytest.mark.parametrize("order", ORDERS)
def test_derivatives(order: float) -> None:
    x = torch.tensor(VALUES, dtype=torch.float64, requires_grad=True)
    value, ratio = log_bessel_and_ratio(order, x)
    (first,) = torch.autograd.grad(value.sum(), x, retain_graph=True)
    (second,) = torch.autograd.grad(ratio.sum(), x)
    assert torch.equal(first, ratio)
    for v, found in zip(VALUES, second.tolist(), strict=True):
        a = mpmath.besseli(order + 1, v) / mpmath.besseli(order, v)
        assert float(abs(found - (1 - a**2 - (2 * order + 1) * a / v))) < 1e-14 + 1e-4 * abs(found)


def test_precision_of_the_argument() -> None:
    x = torch.tensor([3.0, 1e5])
    assert log_bessel(200, x).dtype == bessel_ratio(200, x).dtype == torch.float32
    torch.testing.assert_close(log_bessel(200, x), log_bessel(200, x.double()).float())
