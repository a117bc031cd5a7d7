"""The Riemannian Hamiltonian VAE: its metric, its integrator, and bounds against an exact evidence."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from certainty import Certain, play
from helpers import build, fit, linear, losses, same_weights, small, tiny
from short import few
from torch import Tensor, nn

from vae_zoo.distributions import FixedNormal, HamiltonianPosterior, Metric, Normal, RiemannianPosterior, SharedNormal
from vae_zoo.distributions.normal import independent
from vae_zoo.models import IWAE, RHVAE, VAE, ConditionalVAE, HamiltonianVAE
from vae_zoo.nn import Dense

DIM = 3
smooth = partial(Dense, hidden=[8], activation=nn.ELU)


class RiemannianIWAE(IWAE, RHVAE):
    """Two variants in one."""


def metric(dim: int = DIM) -> Metric:
    torch.manual_seed(5)
    factors = torch.eye(dim).double() + 0.3 * torch.randn(6, dim, dim).double()
    return Metric(torch.randn(6, dim).double(), factors @ factors.mT, 1.5, 0.1)


def flat(dim: int = DIM) -> Metric:
    return Metric(torch.zeros(1, dim).double(), torch.zeros(1, dim, dim).double(), 1.0, 1.0)


def posterior(given: Metric, num: int, num_iterations: int = 30, cls: Any = RiemannianPosterior) -> Any:
    torch.manual_seed(2)
    start = independent(Normal(torch.randn(2, DIM).double(), 0.3 * torch.randn(2, DIM).double()), 1)
    matrix = torch.randn(DIM, DIM).double()
    one = torch.ones(()).double()

    def log_joint(z: Tensor) -> Tensor:
        return -torch.cosh(0.3 * z @ matrix).sum(-1)

    rest = (start, log_joint, torch.linspace(0.1, 0.2, DIM).double(), [one] * (num + 1))
    if cls is HamiltonianPosterior:
        return HamiltonianPosterior(*rest)
    q = RiemannianPosterior(lambda: given, num_iterations, *rest)
    q.metric = given
    return q


def pair(seed: int = 3) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    return torch.randn(7, 2, DIM).double(), torch.randn(7, 2, DIM).double()


def test_inverse_of_the_metric() -> None:
    m, z = metric(), torch.randn(4, DIM).double()
    expected = 0.1 * torch.eye(DIM).double().expand(4, -1, -1)
    for c, spread in zip(m.centroids, m.spreads, strict=True):
        expected = expected + torch.exp(-(z - c).square().sum(-1) / 1.5**2)[:, None, None] * spread
    torch.testing.assert_close(m.inverse(m.kernels(z)), expected)


def test_density_and_covariance_of_the_momentum() -> None:
    q, z = posterior(metric(), 1), torch.randn(2, DIM).double()
    precision = q.metric.inverse(q.metric.kernels(z))
    rho = q.momentum(z.expand(100_000, 2, DIM))
    for n in range(2):
        covariance = torch.linalg.inv(precision[n])
        torch.testing.assert_close(rho[:, n].T.cov(), covariance, rtol=0.03, atol=0.03 * covariance.max().item())
    exact = torch.distributions.MultivariateNormal(torch.zeros(DIM).double(), precision_matrix=precision)
    gap = q.kinetic(z, rho[:5]) + exact.log_prob(rho[:5])
    torch.testing.assert_close(gap, gap[:1, :1].expand_as(gap))  # a constant: the determinant is in it


def test_slopes_against_autograd() -> None:
    q, (z, rho) = posterior(metric(), 1), pair()
    z.requires_grad_()
    root = q.metric.root(z)
    energy = -q.log_joint(z) - root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    (slope,) = torch.autograd.grad(energy.sum(), z)
    torch.testing.assert_close(q.slope(z), -slope)
    kinetic = 0.5 * torch.einsum("...i,...ij,...j", rho, q.metric.inverse(q.metric.kernels(z)), rho)
    (slope,) = torch.autograd.grad(kinetic.sum(), z)
    outer = rho.unsqueeze(-1) * rho.unsqueeze(-2)
    torch.testing.assert_close(q.metric.pull(z, q.metric.kernels(z), outer), slope)


def test_equations_are_solved() -> None:
    q, (z, rho) = posterior(metric(), 1), pair()
    q.step_size = q.step_size / 2
    end, after = q.drift(z, rho)
    assert ((end - z).abs().amax(-1) > 1e-3).all()
    half, middle = 0.5 * q.step_size, after
    inverse, pull = [
        lambda z: q.metric.inverse(q.metric.kernels(z)),
        lambda z, rho: q.metric.pull(z, q.metric.kernels(z), rho.unsqueeze(-1) * rho.unsqueeze(-2)),
    ]
    for _ in range(60):  # from the last equation, which the step computes as it is
        middle = after + half * pull(end, middle)
    assert (middle - rho + half * pull(z, middle)).abs().max() < 1e-6
    assert (end - z - half * ((inverse(z) + inverse(end)) @ middle.unsqueeze(-1)).squeeze(-1)).abs().max() < 1e-6


@pytest.mark.parametrize("num", few([1, 3], 1))
def test_volume_is_preserved(num: int) -> None:
    q = posterior(metric(), num)

    def move(both: Tensor) -> Tensor:
        return torch.cat([part[0] for part in q.move(both[None, :DIM], both[None, DIM:])])

    for seed in range(4):
        torch.manual_seed(seed)
        jacobian = torch.autograd.functional.jacobian(move, torch.randn(2 * DIM).double())
        torch.testing.assert_close(jacobian.det(), torch.ones(()).double(), rtol=0, atol=1e-9)
        assert (jacobian - torch.eye(2 * DIM).double()).abs().max() > 0.1


def test_turned_round_it_comes_back() -> None:
    q, (z, rho) = posterior(metric(), 4), pair()
    there, after = q.move(z, rho)
    back, before = q.move(there, -after)
    assert (there - z).abs().max() > 0.1
    torch.testing.assert_close(back, z, rtol=0, atol=1e-6)
    torch.testing.assert_close(-before, rho, rtol=0, atol=1e-6)


def test_steps_that_lead_nowhere_are_not_taken() -> None:
    """They turn round, or the way would not be one-to-one: fast momenta, whose equations have no solution."""
    q, (z, rho) = posterior(metric(), 1, num_iterations=6), pair()
    rho = torch.cat([rho, 300 * rho]).requires_grad_()
    z = torch.cat([z, z]).requires_grad_()
    end, after = q.drift(z, rho)
    assert torch.equal(end[7:], z[7:])
    assert torch.equal(after[7:], -rho[7:])
    assert not torch.equal(end[:7], z[:7])
    assert all(g.isfinite().all() for g in torch.autograd.grad((end.sum() + after.sum()), (z, rho)))
    with torch.no_grad():
        again = q.drift(z, rho)
    assert torch.equal(again[0], end)
    assert torch.equal(again[1], after)


def test_with_a_constant_metric_it_is_the_hamiltonian_vae() -> None:
    found = []
    for cls in (HamiltonianPosterior, RiemannianPosterior):
        q = posterior(flat(), 4, num_iterations=2, cls=cls)
        torch.manual_seed(7)
        z = q.rsample((5,))
        found.append((z, q.log_prob(z)))
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


def test_without_a_step_it_is_the_vae(images: Tensor) -> None:
    model, vae = tiny(RHVAE, num_leapfrog=0), tiny(VAE)
    vae.load_state_dict(model.state_dict())
    first, second = losses(model, images), losses(vae, images)
    assert all(torch.equal(first[name], second[name]) for name in second)


def gaussian(num_leapfrog: int, **kwargs: Any) -> tuple[Any, Tensor, Tensor]:
    """A linear-Gaussian model whose posterior starts too wide, examples and their exact evidence."""
    exact, x, evidence = linear()
    line = partial(Dense, hidden=[])
    cls: Any = RHVAE if num_leapfrog else VAE
    given = (
        {"num_leapfrog": num_leapfrog, "num_centroids": 2, "floor": 0.5, "metric": line, **kwargs}
        if num_leapfrog
        else {}
    )
    likelihood = partial(FixedNormal, scale=0.5)
    model = cls(shape=(5,), latent_dim=2, encoder=line, decoder=line, likelihood=likelihood, **given).double()
    model.decoder.load_state_dict(exact.decoder.state_dict())
    with torch.no_grad():
        one, zero = exact.encode(torch.eye(5).double()), exact.encode(torch.zeros(1, 5).double())
        out = model.encoder.layers[1]
        out.weight[:2], out.bias[:2] = (one.mean - zero.mean).T, zero.mean[0] + 0.2
        out.weight[2:], out.bias[2:] = 0, torch.log(1.5 * zero.variance[0].sqrt())
        if num_leapfrog:
            model.initialise(x)
            for p in model.metric_network.parameters():
                p.mul_(0.3)
    return model, x, evidence


@pytest.mark.parametrize(("num_leapfrog", "start_temperature"), few([(3, 1.0), (3, 1.5)], 1))
def test_bounds_of_a_linear_model(num_leapfrog: int, start_temperature: float) -> None:
    """Below the exact evidence, and without tempering above that of the start; weights average to the evidence."""
    num = 20_000
    vae, x, exact = gaussian(0)
    model, *_ = gaussian(num_leapfrog, step_size=0.07, start_temperature=start_temperature)
    with torch.no_grad():
        terms = [m.elbo(x, num_samples=num) for m in (vae, model)]
        (plain, _), (bound, error) = [(t.log_w.mean(0), t.log_w.std(0) / num**0.5) for t in terms]
        weights = (terms[1].log_w - exact).exp()
    assert (bound < exact + 4 * error).all()
    if start_temperature == 1:
        assert (bound > plain + 0.005).all()
    assert ((weights.mean(0) - 1).abs() < 4 * weights.std(0) / num**0.5 + 1e-3).all()


def test_gradients_against_differences(images: Tensor) -> None:
    model, x = tiny(RHVAE, decoder=smooth, encoder=smooth, metric=smooth).double(), images[:3].double()

    def loss() -> Tensor:
        torch.manual_seed(1)
        return model.losses(x)["loss"]

    loss().backward()
    picked = {"step_logit": 0, "decoder.layers.1.weight": (3, 1), "metric_network.layers.3.bias": 2}
    for name, index in picked.items():
        p = dict(model.named_parameters())[name]
        with torch.no_grad():
            old, values = p[index].clone(), []
            for shift in (1e-6, -1e-6):
                p[index] = old + shift
                values.append(loss().item())
            p[index] = old
        assert p.grad[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("missing", [False, True])
def test_the_metric_of_scaled_data_is_that_of_data_scaled_by_hand(missing: bool) -> None:
    """Its network reads what the encoder reads: in original units it would give matrices of a million here."""
    torch.manual_seed(1)
    scaled = torch.randn(40, 3).double()
    if missing:
        scaled[::7, 1] = float("nan")
    shift, scale = torch.tensor([1e4, 0.0, -50.0]).double(), torch.tensor([1e3, 1.0, 0.1]).double()
    settings = {"shape": (3,), "latent_dim": 2, "encoder": small, "decoder": small, "metric": small}
    settings |= {"likelihood": SharedNormal, "num_centroids": 10, "missing": missing}
    found = []
    for scaling, x in (({"shift": shift.tolist(), "scale": scale.tolist()}, shift + scale * scaled), (None, scaled)):
        torch.manual_seed(0)
        model = RHVAE(**settings, scaling=scaling).double()
        model._initialise(x)
        q = model.eval().encode(x)
        torch.manual_seed(2)
        z, step = q.rsample((16,)), model.metric()
        moved = (q.drift(z, q.momentum(z))[0] != z).any(-1).double().mean()
        found.append((step.centroids, step.spreads, moved))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
    assert found[0][1].abs().max() < 100
    assert found[0][2] > 0.5


def test_inference_mode_changes_nothing(images: Tensor) -> None:
    model, found = tiny(RHVAE).eval(), []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            torch.manual_seed(3)
            found.append(model.losses(images.clone())["elbo"].item())
    assert found[0] == pytest.approx(found[1], rel=1e-6)
    assert found[1] == found[2]


@pytest.mark.exhaustive
def test_centroids_are_training_examples_and_stay(tmp_path: Path) -> None:
    kwargs = {"encoder": small, "decoder": small, "metric": small, "num_centroids": 6}
    models = [fit(tmp_path / str(n), RHVAE, kwargs=kwargs, max_epochs=n)[0] for n in (1, 2)]
    assert torch.equal(models[0].anchors, models[1].anchors)
    assert len(models[0].anchors.unique(dim=0)) == 6
    assert not same_weights(*models)
    assert build(RHVAE, num_centroids=7).metric().centroids.shape == (7, 4)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_no_training_takes_a_bound_above_the_evidence() -> None:
    """Nor by steps whose equations are not solved, which would not preserve volume."""
    torch.manual_seed(0)
    line = partial(Dense, hidden=[])
    parts = {"encoder": line, "decoder": line, "metric": line, "likelihood": Certain, "num_centroids": 4}
    model = RHVAE(shape=(2,), latent_dim=2, num_leapfrog=2, step_size=0.3, num_iterations=2, **parts)
    bound, error = play(model, torch.tensor([[1.0, -0.5]]), num_steps=60, num_samples=8, lr=0.05)
    assert -2 < bound < 4 * error


def test_combines(images: Tensor) -> None:
    values = tiny(RiemannianIWAE, num_samples=4).losses(images)
    assert values["bound"] > values["elbo"]
    with pytest.raises(TypeError, match="do not go together: the examples of the centroids have no class"):
        build(type("Both", (RHVAE, ConditionalVAE), {}))
    assert issubclass(RHVAE, HamiltonianVAE)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_centroids": 0}, "num_centroids must be at least 1, got 0."),
        ({"num_iterations": 0}, "num_iterations must be at least 1, got 0."),
        ({"bandwidth": 0.0}, "bandwidth must be positive and finite, got 0.0."),
        ({"floor": float("inf")}, "floor must be positive and finite, got inf."),
    ],
)
def test_bad_values(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(RHVAE, **kwargs)
