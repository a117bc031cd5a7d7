"""The density of binary events against the elementwise formula in float64, and against torch.distributions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vae_zoo.distributions import Bernoulli
from vae_zoo.distributions.bernoulli import IndependentBernoulli, log_bernoulli


def elementwise(logits: Tensor, x: Tensor) -> Tensor:
    logits, x = logits.double(), x.double()
    return (x * logits - logits.clamp(min=0) - torch.log1p(torch.exp(-logits.abs()))).sum(-1)


@pytest.mark.parametrize("num", [1, 63, 64, 65, 784])
@pytest.mark.parametrize("scale", [0.1, 3.0, 30.0])
@pytest.mark.parametrize("grey", [False, True])
def test_agrees_with_float64(num: int, scale: float, grey: bool) -> None:
    logits, x = torch.randn(7, 5, num) * scale, torch.rand(5, num)
    x = x if grey else x.round()
    log_prob = log_bernoulli(logits, x)
    assert log_prob.dtype == torch.float32
    torch.testing.assert_close(log_prob.double(), elementwise(logits, x), rtol=1e-6, atol=1.2e-7 * (num + 3 * scale))
    exact = log_bernoulli(logits.double(), x.double())
    torch.testing.assert_close(exact, elementwise(logits, x), rtol=1e-12, atol=1e-12)


def test_agrees_with_torch() -> None:
    logits, x = torch.randn(4, 3, 5), torch.randint(2, (4, 3, 5)).float()
    expected = torch.distributions.Bernoulli(logits=logits).log_prob(x).sum((-1, -2))
    torch.testing.assert_close(Bernoulli((3, 5))(logits).log_prob(x), expected)
    torch.testing.assert_close(IndependentBernoulli(logits, 0).log_prob(x).sum((-1, -2)), expected)


@pytest.mark.parametrize("size", [0.0, 17.0, 1e4])
def test_extreme_logits(size: float) -> None:
    logits = torch.tensor([[size] * 200, [-size] * 200], requires_grad=True)
    for x in (torch.zeros(200), torch.full((200,), 0.25), torch.ones(200)):
        log_prob = log_bernoulli(logits, x)
        torch.testing.assert_close(log_prob.double(), elementwise(logits, x), rtol=1e-6, atol=2e-5)
        (grad,) = torch.autograd.grad(log_prob.sum(), logits)
        torch.testing.assert_close(grad, x - logits.sigmoid())


@pytest.mark.parametrize(("batch", "other"), [((4,), (4,)), ((3, 4), (4,)), ((4,), (3, 4)), ((1, 4), (3, 1))])
def test_gradients_where_shapes_broadcast(batch: tuple[int, ...], other: tuple[int, ...]) -> None:
    logits = (3 * torch.randn(*batch, 70)).requires_grad_()
    x = torch.rand(*other, 70).requires_grad_()
    weight = torch.randn(torch.broadcast_shapes(batch, other))
    grads = torch.autograd.grad((weight * log_bernoulli(logits, x)).sum(), (logits, x))
    expected = torch.autograd.grad((weight.double() * elementwise(logits, x)).sum(), (logits, x))
    for grad, exact in zip(grads, expected, strict=True):
        torch.testing.assert_close(grad, exact, rtol=1e-5, atol=1e-6)


def test_second_derivatives() -> None:
    logits, x = torch.randn(2, 3, 5).double().requires_grad_(), torch.rand(3, 5).double().requires_grad_()
    assert torch.autograd.gradcheck(log_bernoulli, (logits, x))
    assert torch.autograd.gradgradcheck(log_bernoulli, (logits, x))


def test_per_example_gradients() -> None:
    """torch.func sees through it, as those who clip each example's gradient need."""
    logits, x = torch.randn(4, 70), torch.rand(4, 70)
    grads = torch.func.vmap(torch.func.grad(log_bernoulli))(logits, x)
    torch.testing.assert_close(grads, x - logits.sigmoid())


def test_one_graph() -> None:
    whole = torch.compile(lambda p, x: Bernoulli((1, 6, 12))(p).log_prob(x), fullgraph=True, backend="eager")
    params, x = torch.randn(3, 4, 1, 6, 12, requires_grad=True), torch.rand(4, 1, 6, 12)
    value = whole(params, x)
    torch.testing.assert_close(value, Bernoulli((1, 6, 12))(params).log_prob(x))
    (grad,) = torch.autograd.grad(value.sum(), params)
    torch.testing.assert_close(grad, x - params.sigmoid())


def test_expand() -> None:
    d = Bernoulli((3, 5))(torch.randn(4, 3, 5))
    assert d.expand((2, 4)).log_prob(torch.rand(4, 3, 5)).shape == (2, 4)
    assert d.expand((2, 4)).sample().shape == (2, 4, 3, 5)
