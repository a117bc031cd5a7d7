"""Gradients through a codebook: of the identity, and of a rotation."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor

from vae_zoo.nn import Codebook, EMACodebook, GroupedQuantizer, ResidualQuantizer, SimVQ
from vae_zoo.nn.quantizers.gradients import rotated


def pairs(num: int = 200, dim: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, num, dim, generator=generator, dtype=torch.float64).unbind()


def pulled_back(z: Tensor, e: Tensor, g: Tensor) -> Tensor:
    z = z.clone().requires_grad_()
    return torch.autograd.grad((rotated(z, e) * g).sum(), z)[0]


def angle(a: Tensor, b: Tensor) -> Tensor:
    return torch.nn.functional.cosine_similarity(a, b, dim=1)


def test_the_value_is_the_vector_of_the_code() -> None:
    z, e = pairs()
    torch.testing.assert_close(rotated(z, e), e, rtol=0, atol=1e-14)
    assert rotated(z.float(), e.float()).dtype == torch.float32


def test_the_gradient_is_turned_and_scaled() -> None:
    r"""J = λR: the length of Jᵀg is λ times that of g, and its angle to z that of g to e."""
    z, e = pairs()
    g = pairs(seed=1)[0]
    back = pulled_back(z, e, g)
    torch.testing.assert_close(back.norm(dim=1), g.norm(dim=1) * e.norm(dim=1) / z.norm(dim=1))
    torch.testing.assert_close(angle(back, z), angle(g, e))
    assert (angle(back, g) < 0.9).any()  # it is another than g


def test_the_jacobian_is_a_rotation_in_the_plane_of_both() -> None:
    z, e = pairs(1)
    jacobian = torch.autograd.functional.jacobian(lambda z: rotated(z, e)[0], z)[:, 0]
    turn = jacobian * z.norm() / e.norm()
    torch.testing.assert_close(turn @ turn.T, torch.eye(5, dtype=torch.float64))
    assert torch.linalg.det(turn).item() == pytest.approx(1)
    torch.testing.assert_close(jacobian @ z[0], e[0])
    across = torch.linalg.qr(torch.cat([z, e, pairs(3, seed=2)[0]]).T)[0][:, 2:]  # nothing of z or e
    torch.testing.assert_close(turn @ across, across)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_parallel_vectors_are_scaled(factor: float) -> None:
    z, g = pairs()
    torch.testing.assert_close(pulled_back(z, factor * z, g), factor * g)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("near", [0.0, 1e-8, 1e-5, 1e-3])
def test_opposite_vectors_have_a_gradient(near: float, dtype: torch.dtype) -> None:
    z, g = pairs()
    e = -2 * z + near * g
    back = pulled_back(z.to(dtype), e.to(dtype), g.to(dtype)).double()
    torch.testing.assert_close(back.norm(dim=1), g.norm(dim=1) * e.norm(dim=1) / z.norm(dim=1), rtol=1e-2, atol=0)


def test_nothing_is_turned_without_a_direction() -> None:
    z, e = pairs()
    for a, b in ((0 * z, e), (z, 0 * e), (0 * z, 0 * e)):
        assert torch.equal(pulled_back(a, b, z), z)
        assert torch.equal(rotated(a, b), b)


@pytest.mark.parametrize("kind", [Codebook, EMACodebook, SimVQ, ResidualQuantizer])
def test_of_each_codebook(kind: type) -> None:
    torch.manual_seed(0)
    one, two = kind(7, 3), kind(7, 3, gradient="rotation")
    two.load_state_dict(one.state_dict())
    z = torch.randn(6, 3, 2, 4, requires_grad=True)
    a, b, g = one(z), two(z), torch.randn(6, 3, 2, 4)
    assert torch.equal(a.codes, b.codes)
    torch.testing.assert_close(a.z, b.z)
    (straight,), (turned,) = (torch.autograd.grad((found.z * g).sum(), z) for found in (a, b))
    assert torch.equal(straight, g)
    ratio = a.z.norm(dim=1) / z.norm(dim=1)
    torch.testing.assert_close(turned.norm(dim=1), ratio * g.norm(dim=1), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(turned, g)


@pytest.mark.parametrize("kind", [GroupedQuantizer, ResidualQuantizer])
def test_of_codebooks_is_that_of_what_they_make_up(kind: type) -> None:
    z, g, turned = torch.randn(3, 6, 2, requires_grad=True), torch.randn(3, 6, 2), []
    for book in (
        kind,
        partial(kind, gradient="rotation"),
        partial(kind, codebook=partial(Codebook, gradient="rotation")),
    ):
        torch.manual_seed(0)
        turned.append(torch.autograd.grad((book(7, 6)(z).z * g).sum(), z)[0])
    assert torch.equal(turned[0], g)
    assert torch.equal(turned[1], turned[2])
    assert not torch.allclose(turned[1], g)
