"""Planar, radial and Sylvester flows: Jacobians by automatic differentiation, inverses, and a bound of at most 0."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from certainty import Certain, play
from helpers import LinearGaussian
from short import few
from torch import Tensor
from torch.distributions import Distribution, Normal

from vae_zoo.distributions import Family, PlanarFlow, RadialFlow, SylvesterFlow
from vae_zoo.distributions.flows.amortised import Planar, increasing, solve
from vae_zoo.models import VAE
from vae_zoo.nn import Dense

FLOWS = [PlanarFlow, RadialFlow, SylvesterFlow]
every_flow = pytest.mark.parametrize("cls", [*FLOWS, partial(SylvesterFlow, num_columns=2, num_reflections=1)])


def flow(cls: Any, shape: tuple[int, ...] = (3,), batch: int = 4, scale: float = 1.0) -> Any:
    family = cls(shape, num_transforms=3)
    return family(scale * torch.randn(batch, *family.param_shape).double())


@every_flow
class TestFlow:
    @pytest.mark.parametrize("scale", [0.3, 1.0, 3.0])
    def test_density_by_the_jacobian(self, cls: Any, scale: float) -> None:
        q, u = flow(cls, batch=1, scale=scale), torch.randn(3).double()
        jacobian = torch.autograd.functional.jacobian(lambda u: q._push(u[None])[0][0], u)
        z, log_slope = q._push(u[None])
        assert jacobian.det() > 0
        torch.testing.assert_close(log_slope[0], jacobian.det().log())
        expected = Normal(0.0, 1.0).log_prob(u).sum() - jacobian.det().log()
        torch.testing.assert_close(q.log_prob(z)[0], expected, rtol=1e-6, atol=1e-6)

    def test_inverse_is_the_inverse(self, cls: Any) -> None:
        q, u = flow(cls, (2, 3), scale=2.0), torch.randn(50, 4, 6).double()
        z, log_slope = q._push(u)
        back, log_inverse = q._pull(z)
        torch.testing.assert_close(back, u, rtol=0, atol=1e-9)
        torch.testing.assert_close(log_inverse, -log_slope, rtol=0, atol=1e-8)
        there, _ = q._push(q._pull(u)[0])  # every point is an image: the step is onto
        torch.testing.assert_close(there, u, rtol=0, atol=1e-9)

    def test_kept_density_is_the_computed_one(self, cls: Any) -> None:
        q = flow(cls)
        z = q.rsample((50,))
        assert q.log_prob(z) is q.log_prob(z)
        torch.testing.assert_close(q.log_prob(z), q.log_prob(z.clone()), rtol=1e-6, atol=1e-6)

    def test_both_densities_have_the_same_gradient(self, cls: Any) -> None:
        family = cls((3,), num_transforms=3)
        params, grads = torch.randn(4, *family.param_shape).double().requires_grad_(), []
        for again in (lambda z: z, lambda z: z.view_as(z)):
            torch.manual_seed(1)
            q = family(params)
            grads.append(torch.autograd.grad(q.log_prob(again(q.rsample((5,)))).sum(), params))
        torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-6)

    def test_gradient_with_respect_to_a_point(self, cls: Any) -> None:
        q = flow(cls)
        assert torch.autograd.gradcheck(q.log_prob, (torch.randn(2, 4, 3).double().requires_grad_(),))

    def test_density_integrates_to_one(self, cls: Any) -> None:
        family = cls((2,), num_transforms=3)
        q = family(0.6 * torch.randn(1, *family.param_shape).double())
        draws = q.sample((5000,)).reshape(-1, 2)
        low, high = draws.min(0).values - 3, draws.max(0).values + 3
        axes = [torch.linspace(float(a), float(b), 301).double() for a, b in zip(low, high, strict=True)]
        grid = torch.cartesian_prod(*axes)
        cell = (axes[0][1] - axes[0][0]) * (axes[1][1] - axes[1][0])
        assert float(q.log_prob(grid[:, None]).exp().sum() * cell) == pytest.approx(1.0, abs=3e-3)

    def test_with_all_parameters_0_it_is_the_standard_normal(self, cls: Any) -> None:
        q, z = cls((3,)).at_zeros(), torch.randn(5, 1, 3)
        torch.testing.assert_close(q.log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(-1))
        family = cls((3,))
        params = torch.zeros(2, *family.param_shape).requires_grad_()
        d = family(params)
        (d.log_prob(torch.ones(2, 3)) + d.log_prob(d.rsample((3,)))).sum().backward()
        assert params.grad is not None
        assert params.grad.isfinite().all()

    def test_extreme_outputs_of_a_network(self, cls: Any) -> None:
        family = cls((3,))
        params = (1000 * torch.randn(20, *family.param_shape)).requires_grad_()
        q = family(params)
        log_q = q.log_prob(q.rsample((7,)))
        (grad,) = torch.autograd.grad(log_q.sum(), params)
        assert log_q.isfinite().all()
        assert grad.isfinite().all()


@pytest.mark.parametrize("slope", [-0.999, -0.5, 0.0, 3.0, 1e4])
def test_solve_near_the_limit_of_what_is_invertible(slope: float) -> None:
    a, s = torch.linspace(-8, 8, 101).double(), torch.full((), slope).double()
    torch.testing.assert_close(solve(a + s * torch.tanh(a), s), a, rtol=0, atol=1e-6)


def test_a_planar_step_is_changed_only_where_it_must_be() -> None:
    u, w, b = torch.randn(1000, 2), torch.randn(1000, 2), torch.randn(1000, 1)
    step = Planar.of(torch.cat([u, w, b], -1))
    product = (u * w).sum(-1)
    assert torch.equal(step.u[product >= 0], u[product >= 0])
    torch.testing.assert_close((step.u * w).sum(-1), step.slope, rtol=0, atol=1e-5)
    assert (step.slope > -1).all()
    assert (product < -1).float().mean() > 0.1, "which would not be invertible"
    across = (step.u - u) - ((step.u - u) * w).sum(-1, keepdim=True) * w / w.square().sum(-1, keepdim=True)
    torch.testing.assert_close(across, torch.zeros_like(across), rtol=0, atol=1e-5)


def test_slope_is_above_its_limit_for_any_product() -> None:
    product = torch.linspace(-1e5, 1e5, 2001)
    slope, shift = increasing(product)
    assert (slope > -1 + 5e-4).all()
    assert (slope.diff() >= 0).all()
    torch.testing.assert_close(slope - shift, product)


def test_sylvester_columns_are_orthonormal() -> None:
    family = SylvesterFlow((5,), num_columns=3, num_reflections=3)
    columns = family._columns(torch.randn(4, 3, 5).double())
    torch.testing.assert_close(columns.mT @ columns, torch.eye(3).double().expand(4, 3, 3))


def test_planar_is_the_sylvester_flow_of_one_column() -> None:
    """In one dimension both are the same step, of a unit column: compared by the derivative of each."""
    family = SylvesterFlow((1,), num_transforms=1, num_columns=1, num_reflections=1)
    outer, inner, b = torch.tensor([[-0.9, 1.7, 0.4]]).double().unbind(-1)
    params = torch.stack([outer, inner, b, torch.ones(1).double()], -1)
    x = torch.linspace(-3, 3, 50).double()[:, None, None]
    y, log_slope = family.step(params).forward(x)
    # The reflection of one dimension is the sign -1, which the weights of a planar step absorb.
    z, other = Planar.of(torch.stack([-outer, -inner, b], -1)).forward(x)
    torch.testing.assert_close(y, z)
    torch.testing.assert_close(log_slope, other)


class FlowInLinearGaussian(LinearGaussian):
    """Its posterior is the flow in place of the exact one."""

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return VAE.encode(self, x, c)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("cls", few(FLOWS, 1))
def test_a_trained_flow_in_place_of_the_exact_posterior(cls: type[Family]) -> None:
    """Its bound stays below the exact evidence and comes near; its importance weights give the evidence itself."""
    torch.manual_seed(0)
    model = FlowInLinearGaussian(shape=(5,), latent_dim=2, posterior=partial(cls, num_transforms=2))
    with torch.no_grad():
        x = model.sample(8, mean=False)
    optimizer = torch.optim.Adam(model.encoder.parameters(), lr=0.02)
    for step in range(250):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 250)
        optimizer.zero_grad()
        (-model.elbo(x, num_samples=4).value.mean()).backward()
        optimizer.step()
    with torch.no_grad():
        log_w = model.elbo(x, num_samples=4_000).log_w
        gaps = model.exact_evidence(x) - log_w.mean(0)
        weights = (log_w - model.exact_evidence(x)).exp()
    assert (gaps > -4 * log_w.std(0) / 4_000**0.5 - 1e-6).all()
    assert gaps.mean() < 1, gaps
    assert ((weights.mean(0) - 1).abs() < 4 * weights.std(0) / 4_000**0.5 + 1e-6).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "num_transforms", "num_steps"),
    few([(PlanarFlow, 4, 600), *[(cls, 4, 2000) for cls in FLOWS]], 0),
)
def test_no_training_takes_a_bound_above_the_evidence(cls: type[Family], num_transforms: int, num_steps: int) -> None:
    """With a step that is not invertible the same training reaches +0.66 nats in 600 steps."""
    torch.manual_seed(0)
    linear = partial(Dense, hidden=[])
    posterior = partial(cls, num_transforms=num_transforms)
    parts = {"encoder": linear, "decoder": linear, "likelihood": Certain, "posterior": posterior}
    model = VAE(shape=(2,), latent_dim=2, **parts)
    with torch.no_grad():  # far from the identity, where the limits of the steps matter
        model.encoder.layers[1].bias[4:] += 2 * torch.randn_like(model.encoder.layers[1].bias[4:])
    bound, error = play(model, torch.tensor([[1.0, -0.5]]), num_steps=num_steps, num_samples=8)
    assert -0.5 < bound < 4 * error


@pytest.mark.parametrize(
    ("make", "message"),
    [
        *[(partial(cls, num_transforms=0), "num_transforms must be at least 1, got 0.") for cls in FLOWS],
        (partial(SylvesterFlow, num_columns=4), "num_columns must be from 1 to the 3 dimensions, got 4."),
        (partial(SylvesterFlow, num_columns=0), "num_columns must be from 1 to the 3 dimensions, got 0."),
        (partial(SylvesterFlow, num_reflections=0), "num_reflections must be at least 1, got 0."),
    ],
)
def test_bad_values(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        make((3,))


def test_the_slope_has_a_derivative_where_steps_are_the_identity() -> None:
    """With a displacement of 0, as of a network whose last weights are 0, it would never learn to stretch."""
    product = torch.tensor([-1e-6, 0.0, 1e-6]).requires_grad_()
    (derivative,) = torch.autograd.grad(increasing(product)[0].sum(), product)
    torch.testing.assert_close(derivative, torch.ones(3))
