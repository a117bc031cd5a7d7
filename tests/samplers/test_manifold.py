"""The distribution of the volume of a Riemannian latent space, against closed forms and a grid."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import saved, tiny
from torch import Tensor

import vae_zoo
from vae_zoo.data import Sprites
from vae_zoo.models import RHVAE, VAE
from vae_zoo.samplers import Manifold, latents, with_prior
from vae_zoo.samplers import manifold as module

GRID = torch.linspace(-9, 9, 181)


def adopted(num: int, dim: int = 2, **kwargs: Any) -> Manifold:
    """A density with a metric of random centroids and factors, as an RHVAE would have it."""
    model = tiny(RHVAE, latent_dim=dim, num_centroids=num)
    generator = torch.Generator().manual_seed(3)
    model.anchors.copy_(torch.rand(model.anchors.shape, generator=generator))
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    return Manifold((dim,), num_components=3, **kwargs).adopt(model)


def noise(dim: int = 2) -> Tensor:
    return torch.randn(500, dim, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("num", [1, 4])
def test_before_it_is_fitted_it_is_a_standard_normal(num: int) -> None:
    p = Manifold((3,), num_centroids=num)()
    z = torch.randn(50, 3)
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(-1)
    torch.testing.assert_close(p.log_prob(z), expected, rtol=1e-4, atol=1e-4)
    draws = p.sample((4000,))
    torch.testing.assert_close(draws.std(0), torch.ones(3), rtol=0, atol=0.06)


def test_around_one_centroid_it_is_normal() -> None:
    """√det(A exp(-r²/T²)) of a single centroid: mean c, variance T²/D, whatever the matrix."""
    density = adopted(1, 3).fit(noise(3))
    p, scale = density(), density.bandwidth / math.sqrt(3)
    z = density.centroids + 2 * scale * torch.randn(50, 3)
    expected = torch.distributions.Normal(density.centroids[0], scale).log_prob(z).sum(-1)
    too_low = 3 * density.log_normaliser_se  # on purpose
    assert 0 < too_low < 0.03
    torch.testing.assert_close(p.log_prob(z), expected - too_low, rtol=0, atol=float(too_low))
    draws = p.sample((4000,))
    assert ((draws.mean(0) - density.centroids[0]).abs() < 5 * scale / 4000**0.5).all()
    torch.testing.assert_close(draws.std(0), scale.expand(3), rtol=0.06, atol=0)


def test_density_and_draws_on_a_grid() -> None:
    density = adopted(5).fit(noise())
    p = density()
    mass = p.log_prob(torch.cartesian_prod(GRID, GRID)).double().exp().view(181, 181) * 0.1**2
    assert 1 - 6.5 * float(density.log_normaliser_se) < mass.sum().item() < 1, "never above 1"
    draws = p.sample((20_000,))
    for dim in (0, 1):
        cumulated = (mass.sum(1 - dim) / mass.sum()).cumsum(0)
        empirical = (draws[:, dim, None] <= GRID + 0.05).double().mean(0)
        assert (cumulated - empirical).abs().max() < 1.95 / math.sqrt(len(draws)) + 0.004


def test_it_is_the_volume_of_the_metric_near_the_centroids() -> None:
    model = tiny(RHVAE, latent_dim=2, num_centroids=6).double()
    p = Manifold((2,)).double().adopt(model)()
    metric = model.metric()
    z = metric.centroids + 0.1
    own = metric.inverse(metric.kernels(z)).logdet() / 2
    torch.testing.assert_close(p.log_volume(z), own, rtol=0, atol=0.05)  # with a floor that is λ times the influences


def test_slope_is_the_gradient_also_far_away() -> None:
    p = adopted(5, 4).double()()
    z = (torch.randn(40, 4).double() * torch.logspace(0, 3, 40)[:, None]).requires_grad_()
    value = p.log_volume(z)
    assert value.isfinite().all()
    (expected,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(p.slope(z.detach()), expected)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    p, z = adopted(5, 4)(), torch.randn(3, 7, 4)
    whole = p.log_volume(z), p.slope(z)
    monkeypatch.setattr(module, "_ELEMENTS", 50)
    torch.testing.assert_close((p.log_volume(z), p.slope(z)), whole)


def test_autocast_changes_nothing() -> None:
    p, z = adopted(5, 4)(), torch.randn(7, 4)
    expected = p.log_prob(z)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(p.log_prob(z), expected)
        found = p.log_prob(z.bfloat16())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, p.log_prob(z.bfloat16().float()))


def test_a_refit_is_bitwise_the_same_and_draws_nothing() -> None:
    density, state = adopted(4), torch.get_rng_state()
    density.fit(noise())
    assert torch.equal(torch.get_rng_state(), state)
    fitted = {key: x.clone() for key, x in density.state_dict().items()}
    density.fit(iter(noise().split(77)))
    assert all(torch.equal(x, fitted[key]) for key, x in density.state_dict().items())
    copy = Manifold((2,), **density.settings)
    copy.load_state_dict(density.state_dict())
    torch.manual_seed(0)
    x = density().sample((3,))
    torch.manual_seed(0)
    assert torch.equal(copy().sample((3,)), x)


@pytest.mark.exhaustive
def test_as_the_prior_of_its_model(data: Sprites, images: Tensor, tmp_path: Path) -> None:
    model = tiny(RHVAE, num_centroids=6).eval()
    model.initialise(images)
    density = Manifold(model.latent_shape, num_components=3).adopt(model).fit(latents(model, data))
    made = with_prior(model, density)
    assert isinstance(made, RHVAE)
    torch.manual_seed(0)
    value = made.elbo(images, None, 200).value
    assert (made.log_evidence(images, num_samples=500) > value.mean(0) - 0.2).all()
    again = vae_zoo.load(saved(tmp_path, made))
    torch.manual_seed(0)
    x = made.sample(5)
    torch.manual_seed(0)
    assert torch.equal(again.sample(5), x)


def test_mistakes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="Manifold needs the metric of a model: call its adopt with an RHVAE first"):
        Manifold((2,)).fit(noise())
    with pytest.raises(ValueError, match=r"needs the metric of RHVAE, got VAE, which has none: take GMM\.$"):
        Manifold((2,)).adopt(tiny(VAE))
    with pytest.raises(ValueError, match="got RHVAE, which takes no leapfrog steps: take GMM"):
        Manifold((2,)).adopt(tiny(RHVAE, num_leapfrog=0))
    with pytest.raises(ValueError, match=r"latents that are vectors, got latents of shape \(2, 2\)"):
        Manifold((2, 2))
    for name in ("num_centroids", "num_components", "num_transitions"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            Manifold((2,), **{name: 0})
    monkeypatch.setattr(module, "LEAST_EFFECTIVE", 10**6)
    with pytest.raises(ValueError, match=r"cannot measure the volume of these 2 latent dimensions.* Take GMM"):
        adopted(2).fit(noise())
