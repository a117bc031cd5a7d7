from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.fft import dctn
from sklearn.manifold import trustworthiness

from vae_zoo.metrics import Continuity, EquivarianceError, HighFrequency
from vae_zoo.metrics.space.grids import cosines, zoomed


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sides", [(8, 6), (16,), (4, 3, 2)])
def test_spectrum_is_that_of_scipy(sides: tuple[int, ...]) -> None:
    z = noise(5, 2, *sides)
    metric = HighFrequency(above=0.5)
    for part in z.split(2):
        metric.update(part)
    power = (dctn(z.double().numpy(), axes=tuple(range(2, z.ndim)), norm="ortho") ** 2).sum((0, 1))
    power.flat[0] = 0
    radius = np.stack(np.meshgrid(*(np.arange(side) / side for side in sides), indexing="ij")).max(0)
    assert metric.compute().item() == pytest.approx(power[radius >= 0.5].sum() / power.sum(), rel=1e-5)


def test_spectrum_of_known_grids() -> None:
    white = HighFrequency()
    white.update(noise(4000, 1, 8, 8))
    assert white.compute().item() == pytest.approx(48 / 63, abs=0.01)
    for frequency, share in ((1, 0.0), (3, 0.0), (4, 1.0), (7, 1.0)):
        metric = HighFrequency()
        metric.update(3 + cosines(8, torch.device("cpu"))[frequency].expand(2, 1, 8, 8).float())
        assert metric.compute().item() == pytest.approx(share, abs=1e-6)


def test_equivariance() -> None:
    metric, expected = EquivarianceError(2), noise(300, 2, 4, 4) + torch.tensor([5.0, -3.0])[:, None, None]
    metric.update(expected, expected)
    assert metric.compute() == 0
    metric.reset()
    for part in expected.split(100):
        metric.update(part, torch.tensor([5.0, -3.0])[:, None, None].expand_as(part))
    assert metric.compute().item() == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match=r"^shapes must be the same, got \(1, 2, 4, 4\) and \(1, 2, 2, 4\)\.$"):
        metric.update(expected[:1], expected[:1, :, :2])


def test_zoom_commutes_with_averages() -> None:
    """Of an encoder that takes means of pixels, what the zoom changes are only the values between two places."""
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    pooled = torch.nn.functional.avg_pool2d
    assert zoomed(ramp).shape == ramp.shape
    assert (pooled(zoomed(ramp), 4) - zoomed(pooled(ramp, 4)))[..., 1:-1].abs().max() < 1e-4
    assert zoomed(ramp)[0, 0, 0, 16].item() == pytest.approx(15.75)


def test_continuity_is_trustworthiness_exchanged() -> None:
    x = noise(60, 3, 2)
    z = x.flatten(1)[:, :2] + 0.3 * noise(60, 2)
    metric = Continuity(neighbours=5)
    for a, b in zip(x.split(17), z.split(17), strict=True):
        metric.update(a, b)
    expected = trustworthiness(z.numpy(), x.flatten(1).numpy(), n_neighbors=5)
    assert metric.compute().item() == pytest.approx(expected, abs=1e-6)


def test_continuity_of_known_latents() -> None:
    x = noise(200, 4)
    same, other = Continuity(), Continuity()
    same.update(x, 2 * x + 1)
    assert same.compute() == 1
    other.update(x, noise(400, 4)[200:])
    assert 0.4 < other.compute() < 0.6


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"^above must lie between 0 and 1, got 1\.$"):
        HighFrequency(above=1)
    with pytest.raises(ValueError, match=r"^latents must be grids \(B, C, \*sides\) of several places, got \(4, 3\)"):
        HighFrequency().update(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="num_channels must be at least 1"):
        EquivarianceError(0)
    with pytest.raises(ValueError, match="neighbours must be at least 1"):
        Continuity(neighbours=0)
    metric = Continuity(neighbours=5)
    metric.update(noise(10, 2), noise(10, 2))
    with pytest.raises(ValueError, match=r"^neighbours must be below half the 10 examples, got 5\.$"):
        metric.compute()
