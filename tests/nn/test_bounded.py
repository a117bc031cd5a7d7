from __future__ import annotations

import torch

from vae_zoo.nn import Bounded


def test_values() -> None:
    x = torch.tensor([-2.0, 0.0, 0.3, 1.0, 5.0])
    assert torch.equal(Bounded()(x), x.clamp(0, 1))
    assert torch.equal(Bounded(-1, 2)(x), x.clamp(-1, 2))


def test_gradient_stops_only_outwards() -> None:
    """Of a loss that falls to the left, then of one that falls to the right; a step goes against the gradient."""
    x = torch.tensor([-2.0, 0.0, 0.3, 1.0, 5.0], requires_grad=True)
    (left,) = torch.autograd.grad(3 * Bounded()(x).sum(), x)
    assert left.tolist() == [0, 0, 3, 3, 3]
    (right,) = torch.autograd.grad(-3 * Bounded()(x).sum(), x)
    assert right.tolist() == [-3, -3, -3, 0, 0]


def test_comes_back_from_outside() -> None:
    x = torch.tensor([-0.5, 1.5], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.2)
    for _ in range(40):
        optimizer.zero_grad()
        (Bounded()(x) - 0.4).square().sum().backward()
        optimizer.step()
    torch.testing.assert_close(x.detach(), torch.full((2,), 0.4), atol=1e-3, rtol=0)
