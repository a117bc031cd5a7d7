from __future__ import annotations

import pytest
import torch
from torch import nn

from vae_zoo.nn import Dense, LogDense


@pytest.mark.parametrize("in_shape", [(17,), (784,), (1, 28, 20), (3, 33, 47), (1, 1, 1), (2, 5, 3)])
@pytest.mark.parametrize("out_shape", [(2, 5), (5,), (2, 3, 4, 4)])
def test_shapes(in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
    network = Dense(in_shape, out_shape, hidden=[6, 4])
    assert network(torch.randn(3, *in_shape)).shape == (3, *out_shape)
    assert network(torch.randn(0, *in_shape)).shape == (0, *out_shape)


def test_widths_and_activation() -> None:
    network = Dense((4,), (2,), hidden=[6, 5], activation=nn.Tanh)
    assert [layer.out_features for layer in network.modules() if isinstance(layer, nn.Linear)] == [6, 5, 2]
    assert sum(isinstance(layer, nn.Tanh) for layer in network.modules()) == 2
    assert isinstance(network.layers[-1], nn.Linear)


def test_linear_without_hidden_layers() -> None:
    network = Dense((2, 3), (4,), hidden=[])
    x = torch.randn(5, 2, 3)
    linear = network.layers[1]
    torch.testing.assert_close(network(x), x.flatten(1) @ linear.weight.T + linear.bias)


def test_logarithms_of_the_inputs() -> None:
    network, x = LogDense((3,), (2,), hidden=[4]), torch.tensor([[0.0, 7.0, 1e5], [-3.0, 1.0, 0.5]])
    plain = Dense((3,), (2,), hidden=[4])
    plain.load_state_dict(network.state_dict())
    expected = torch.tensor([[0.0, 8.0, 100_001.0], [4.0, 2.0, 1.5]])
    expected = torch.where(expected > 0, expected.clamp(min=1).log(), 0.0) * x.sign()
    torch.testing.assert_close(network(x), plain(expected))


@pytest.mark.parametrize("hidden", [[0], [5, -1]])
def test_bad_width(hidden: list[int]) -> None:
    with pytest.raises(ValueError, match=r"hidden widths must be at least 1, got \["):
        Dense((4,), (2,), hidden=hidden)
