from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from vae_zoo.nn import GatedDense


@pytest.mark.parametrize("in_shape", [(17,), (1, 28, 20), (3, 33, 47), (1, 1, 1)])
@pytest.mark.parametrize("out_shape", [(2, 5), (5,), (2, 3, 4, 4)])
def test_shapes(in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
    network = GatedDense(in_shape, out_shape, hidden=[6, 4])
    assert network(torch.randn(3, *in_shape)).shape == (3, *out_shape)
    assert network(torch.randn(0, *in_shape)).shape == (0, *out_shape)


def test_value_times_gate() -> None:
    network = GatedDense((2, 3), (4,), hidden=[5])
    _, gated, last = network.layers
    x = torch.randn(7, 2, 3)
    flat = x.flatten(1)
    value = flat @ gated.value.weight.T + gated.value.bias
    gate = 1 / (1 + torch.exp(-(flat @ gated.gate.weight.T + gated.gate.bias)))
    torch.testing.assert_close(network(x), (value * gate) @ last.weight.T + last.bias)


def test_widths() -> None:
    widths = [m.out_features for m in GatedDense((4,), (2,), hidden=[6, 5]).modules() if isinstance(m, nn.Linear)]
    assert widths == [6, 6, 5, 5, 2]
    assert [type(m) for m in GatedDense((4,), (2,), hidden=[]).layers] == [nn.Flatten, nn.Linear]


def test_start() -> None:
    torch.manual_seed(0)
    for layer in GatedDense((200,), (100,), hidden=[300]).modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(math.sqrt(2 / layer.in_features), rel=0.03)
            assert not layer.bias.any()


@pytest.mark.parametrize("hidden", [[0], [5, -1]])
def test_bad_width(hidden: list[int]) -> None:
    with pytest.raises(ValueError, match=r"hidden widths must be at least 1, got \["):
        GatedDense((4,), (2,), hidden=hidden)
