"""Modules with weights held fixed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from vae_zoo.nn import frozen


def test_gradients_reach_the_inputs_and_not_the_weights() -> None:
    layer, x = nn.Linear(3, 2), torch.randn(4, 3, requires_grad=True)
    out = frozen(layer)(x)
    out.sum().backward()
    assert torch.equal(out, layer(x))
    assert layer.weight.grad is None
    torch.testing.assert_close(x.grad, layer.weight.sum(0).expand(4, -1))


def test_running_statistics_do_not_move() -> None:
    norm, x = nn.BatchNorm1d(3), torch.randn(8, 3) + 5
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    out = frozen(norm)(x)
    assert all(torch.equal(value, before[name]) for name, value in norm.state_dict().items())
    torch.testing.assert_close(out, norm(x))  # which normalises by the batch, and moves them
    assert not torch.equal(norm.running_mean, before["running_mean"])


def test_it_keeps_the_weights_of_the_moment() -> None:
    """An optimizer that steps between two terms would otherwise change the second."""
    layer, x = nn.Linear(1, 1, bias=False), torch.ones(1, 1)
    call = frozen(layer)
    expected = layer(x).detach()
    assert torch.equal(call(x), expected)


@pytest.mark.exhaustive
def test_it_compiles_into_one_graph() -> None:
    layer = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

    def loss(x: torch.Tensor) -> torch.Tensor:
        return frozen(layer)(x).mean() + layer(x.detach()).mean()

    x = torch.randn(5, 3)
    torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="eager")(x), loss(x))
