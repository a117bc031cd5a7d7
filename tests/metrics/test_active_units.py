from __future__ import annotations

import pytest
import torch

from vae_zoo.metrics import ActiveUnits, InformativeUnits


def test_counts_the_dimensions_that_vary() -> None:
    z = torch.randn(1000, 4) * torch.tensor([1.0, 0.2, 0.05, 0.0])
    metric = ActiveUnits()
    metric.update(z)
    assert metric.compute() == 2
    assert ActiveUnits(threshold=0.001)(z) == 3


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e3])
def test_variance_over_uneven_batches(offset: float) -> None:
    z = (torch.randn(1000, 5) * torch.tensor([1.0, 0.5, 0.2, 0.1, 0.05]) + offset).float()
    metric = ActiveUnits()
    for batch in z.split([1, 500, 7, 492]):
        metric.update(batch)
    expected = z.double().var(0, correction=0).float()
    torch.testing.assert_close(metric.variance(), expected, rtol=1e-2 if offset else 1e-5, atol=1e-6)


def test_merges_the_states_of_two_processes() -> None:
    z = torch.randn(50, 3)
    first, second, whole = ActiveUnits(), ActiveUnits(), ActiveUnits()
    for metric, part in ((first, z[:13]), (second, z[13:]), (whole, z)):
        metric.update(part)
    both = ActiveUnits()
    both.moments = torch.cat([first.moments[0], second.moments[0]])  # as torchmetrics gathers them
    torch.testing.assert_close(both.variance(), whole.variance())


def test_reset_forgets() -> None:
    metric = ActiveUnits()
    metric.update(torch.randn(10, 3))
    metric.reset()
    metric.update(torch.zeros(10, 3))
    assert metric.compute() == 0


def test_latents_with_more_than_one_dimension() -> None:
    metric = ActiveUnits()
    metric.update(torch.randn(20, 2, 3))
    assert metric.compute() == 6


def test_memory_does_not_grow() -> None:
    metric = ActiveUnits()
    for _ in range(5):
        metric.update(torch.randn(10, 3))
    assert sum(m.numel() for m in metric.moments) == 9


def test_informative_units_count_mean_rates_above_the_floor() -> None:
    metric = InformativeUnits()
    for rates in torch.tensor([[0.3, 0.05, 0.11], [0.0, 0.0, 0.11], [0.3, 0.2, 0.11]]).split([1, 2]):
        metric.update(rates)
    torch.testing.assert_close(metric.rates(), torch.tensor([0.2, 0.25 / 3, 0.11]))
    assert metric.compute() == 2
    assert InformativeUnits(threshold=0.01)(torch.full((4, 3), 0.05)) == 3
