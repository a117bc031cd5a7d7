from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, Independent, Laplace, MixtureSameFamily

from vae_zoo.distributions import Mixture, Normal
from vae_zoo.distributions.normal import independent


def normals(num: int = 50, shape: tuple[int, ...] = (10,), log_scale: float = -1.0) -> Independent:
    torch.manual_seed(0)
    loc = torch.randn(num, *shape)
    return independent(Normal(loc, log_scale + 0.3 * torch.randn_like(loc)), len(shape))


def exact(components: Independent, z: torch.Tensor) -> torch.Tensor:
    """torch's own mixture, in float64."""
    base = components.base_dist
    wide = torch.distributions.Normal(base.loc.double(), base.log_scale.double().exp())
    weights = Categorical(torch.ones(len(base.loc), dtype=torch.float64))
    return MixtureSameFamily(weights, Independent(wide, base.loc.ndim - 1)).log_prob(z.double())


@pytest.mark.parametrize("shape", [(10,), (1,), (2, 3)])
def test_density_of_normal_components(shape: tuple[int, ...]) -> None:
    components = normals(shape=shape)
    z = torch.randn(3, 4, *shape)
    got = Mixture(components).log_prob(z)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), exact(components, z), rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("log_scale", [-3.0, -6.0])
def test_density_of_narrow_components_near_their_centres(log_scale: float) -> None:
    """Where float32 would be off by more than all that is left after the cancellation."""
    components = normals(500, (40,), log_scale)
    z = components.sample()
    with torch.autocast("cpu", torch.bfloat16):
        got = Mixture(components).log_prob(z)
    torch.testing.assert_close(got.double(), exact(components, z), rtol=1e-5, atol=1e-3)


def test_density_of_other_components() -> None:
    base = Laplace(torch.randn(5, 3), torch.rand(5, 3) + 0.1)
    mixture = Mixture(Independent(base, 1, validate_args=False))
    z = torch.randn(2, 4, 3)
    expected = MixtureSameFamily(Categorical(torch.ones(5)), Independent(base, 1)).log_prob(z)
    torch.testing.assert_close(mixture.log_prob(z), expected)


def test_many_samples_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    components = normals()
    z = torch.randn(7, 10)
    whole = Mixture(components).log_prob(z)
    monkeypatch.setattr("vae_zoo.distributions.mixture._CHUNK_ELEMENTS", 120)  # 2 samples at a time
    torch.testing.assert_close(Mixture(components).log_prob(z), whole)
    assert Mixture(components).log_prob(z[:0]).shape == (0,)


def test_gradients() -> None:
    components = normals()
    loc, log_scale = (t.clone().requires_grad_() for t in (components.base_dist.loc, components.base_dist.log_scale))
    z = torch.randn(6, 10, requires_grad=True)
    got = torch.autograd.grad(Mixture(independent(Normal(loc, log_scale), 1)).log_prob(z).sum(), (z, loc, log_scale))
    expected = torch.autograd.grad(exact(independent(Normal(loc, log_scale), 1), z).sum(), (z, loc, log_scale))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_samples_and_moments() -> None:
    mixture = Mixture(normals(4, (2,)))
    z = mixture.sample((5000,))
    assert z.shape == (5000, 2)
    assert mixture.sample().shape == (2,)
    assert mixture.sample((2, 3)).shape == (2, 3, 2)
    assert ((z.mean(0) - mixture.mean).abs() < 4 * mixture.stddev / 5000**0.5).all()
    torch.testing.assert_close(z.var(0), mixture.variance, rtol=0.1, atol=0)
    nearest = (z[:, None] - mixture.components.mean).square().sum(-1).argmin(1).bincount(minlength=4)
    assert (nearest > 500).all()
