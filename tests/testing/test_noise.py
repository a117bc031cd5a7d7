from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vae_zoo.testing.noise import RowNoise

ROWS, TIMES = 7, 3

DRAWS: dict[str, Callable[[int], Tensor]] = {
    "normal": lambda num: torch.randn(2, num, 4),
    "in place": lambda num: torch.empty(2, num, 4).normal_(1.0, 3.0),
    "flattened samples": lambda num: torch.rand(2 * num, 4).unflatten(0, (2, num)),
    "of a tensor": lambda num: torch.bernoulli(torch.full((2, num, 4), 0.5)),
    "gamma": lambda num: torch.distributions.Gamma(torch.ones(2, num, 4), 1.0).rsample(),
    "dropout": lambda num: torch.dropout(torch.ones(2, num, 4), 0.5, train=True),
    "half precision": lambda num: torch.randn(2, num, 4, dtype=torch.bfloat16),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_copies_of_a_batch_get_its_noise(draw: Callable[[int], Tensor]) -> None:
    with RowNoise(3, ROWS):
        one, other = draw(ROWS), draw(ROWS)
    with RowNoise(3, ROWS, TIMES):
        many = draw(TIMES * ROWS)
    assert torch.equal(many, one.repeat(1, TIMES, 1))
    assert not torch.equal(one, other)


def test_half_precision_is_rounded() -> None:
    with RowNoise(3, ROWS):
        exact = torch.randn_like(torch.empty(ROWS, 4))
    with RowNoise(3, ROWS):
        half = torch.randn_like(torch.empty(ROWS, 4, dtype=torch.bfloat16))
    assert torch.equal(half, exact.bfloat16())


def test_the_generator_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    with RowNoise(1, ROWS):
        torch.rand(5)
    assert torch.equal(torch.rand(3), expected)
