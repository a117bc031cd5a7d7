from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import fit, tiny, tiny_data
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.data import Pairs
from vae_zoo.distributions import DiagonalLaplace, Normal
from vae_zoo.distributions.normal import independent
from vae_zoo.models import VAE, AdaGVAE, AdaMLVAE

BOTH = pytest.mark.parametrize("cls", [AdaGVAE, AdaMLVAE])


def posterior(loc: list[list[float]], scale: list[list[float]]) -> Distribution:
    return independent(Normal(torch.tensor(loc), torch.tensor(scale).log()), 1)


def moments(q: Distribution) -> tuple[Tensor, Tensor]:
    return q.mean, q.variance


def test_an_equal_pair() -> None:
    """The average of two equal densities is that density; their product has half of its variance."""
    q = posterior([[1.0, -2.0]] * 2, [[0.5, 2.0]] * 2)
    for cls, factor in ((AdaGVAE, 1.0), (AdaMLVAE, 0.5)):
        mean, variance = moments(tiny(cls, latent_dim=2).paired(q))
        torch.testing.assert_close(mean, q.mean)
        torch.testing.assert_close(variance, factor * q.variance)


@BOTH
def test_the_dimension_that_moves_is_not_shared(cls: type[AdaGVAE]) -> None:
    q = posterior([[0.0, 1.0, -1.0], [0.1, 1.1, 3.0]], [[0.5, 1.0, 0.7], [0.6, 1.1, 0.7]])
    mean, variance = moments(tiny(cls, latent_dim=3).paired(q))
    assert torch.equal(mean[:, 2], q.mean[:, 2])
    assert torch.equal(variance[:, 2], q.variance[:, 2])
    assert torch.equal(mean[0, :2], mean[1, :2])
    assert torch.equal(variance[0, :2], variance[1, :2])


@BOTH
@pytest.mark.parametrize("num_changed", [0, 1, 2, 3])
def test_a_known_number_of_dimensions_that_differ(cls: type[AdaGVAE], num_changed: int) -> None:
    """The threshold would leave two apart here: those that moved by 3 and by 4, but not by 1."""
    q = posterior([[0.0, 0.0, 0.0], [3.0, 1.0, 4.0]], [[1.0] * 3] * 2)
    mean, _ = moments(tiny(cls, latent_dim=3, num_changed=num_changed).paired(q))
    apart = (mean[0] != mean[1]).tolist()
    assert apart == [place < num_changed for place in (1, 2, 0)]
    mean, _ = moments(tiny(cls, latent_dim=3).paired(q))
    assert (mean[0] != mean[1]).tolist() == [True, False, True]


@BOTH
@pytest.mark.parametrize("bad", [-1, 3])
def test_an_impossible_number(cls: type[AdaGVAE], bad: int) -> None:
    with pytest.raises(ValueError, match=rf"num_changed must lie in 0 \.\. 2, got {bad}"):
        tiny(cls, latent_dim=2, num_changed=bad)


def test_what_is_shared() -> None:
    q = posterior([[0.0, -1.0], [0.2, 3.0]], [[0.5, 0.7], [1.0, 0.7]])
    mean, variance = moments(tiny(AdaGVAE, latent_dim=2).paired(q))
    torch.testing.assert_close(mean[0, 0].item(), 0.1)
    torch.testing.assert_close(variance[0, 0].item(), (0.25 + 1) / 2)
    mean, variance = moments(tiny(AdaMLVAE, latent_dim=2).paired(q))
    torch.testing.assert_close(variance[0, 0].item(), 1 / (1 / 0.25 + 1))
    torch.testing.assert_close(mean[0, 0].item(), 0.2 * (1 / 1) / (1 / 0.25 + 1))


@BOTH
def test_the_order_within_a_pair(cls: type[AdaGVAE]) -> None:
    """Matters for the paper's divergence, which is of the first from the second, and not for the symmetric one."""
    q = posterior([[0.0, 0.0, 0.0], [1.0, 0.0, 2.0]], [[1.0, 0.2, 1.0], [1.0, 1.0, 1.0]])
    turned = posterior([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]], [[1.0, 1.0, 1.0], [1.0, 0.2, 1.0]])
    paper, both = tiny(cls, latent_dim=3), tiny(cls, latent_dim=3, symmetric=True)
    torch.testing.assert_close(both.paired(q).variance, both.paired(turned).variance.flip(0))
    assert not torch.allclose(paper.paired(q).variance, paper.paired(turned).variance.flip(0))


@BOTH
def test_the_last_of_an_odd_number_keeps_its_own(cls: type[AdaGVAE], images: Tensor) -> None:
    model = tiny(cls)
    mine, plain = model.encode(images[:5]), VAE.encode(model, images[:5])
    assert torch.equal(mine.mean[4], plain.mean[4])
    assert not torch.equal(mine.mean[:4], plain.mean[:4])
    assert torch.equal(model.encode(images[:1]).mean, VAE.encode(model, images[:1]).mean)


@BOTH
def test_evaluation_is_that_of_the_vae(cls: type[AdaGVAE], images: Tensor) -> None:
    model = tiny(cls).eval()
    plain = tiny(VAE).eval()
    plain.load_state_dict(model.state_dict())
    for seed in range(2):
        torch.manual_seed(seed)
        mine = model.losses(images)
        torch.manual_seed(seed)
        assert all(torch.equal(mine[name], value) for name, value in plain.losses(images).items())


@BOTH
def test_pairs_do_not_mix(cls: type[AdaGVAE], images: Tensor) -> None:
    model = tiny(cls)
    whole = model.encode(images[:8])
    apart = [model.encode(images[n : n + 2]) for n in range(0, 8, 2)]
    torch.testing.assert_close(whole.mean, torch.cat([q.mean for q in apart]))
    torch.testing.assert_close(whole.variance, torch.cat([q.variance for q in apart]))


def test_tells_of_data_without_pairs(tmp_path: Path, logged: list[str]) -> None:
    fit(tmp_path, AdaGVAE, data=Pairs(data=tiny_data(), batch_size=10), max_epochs=1)
    assert not any("wrap it in Pairs" in line for line in logged)
    fit(tmp_path, AdaGVAE, data=tiny_data(), max_epochs=1)
    assert any("Sprites gives single examples: wrap it in Pairs" in line for line in logged)


def test_another_posterior() -> None:
    with pytest.raises(ValueError, match="AdaGVAE averages normal posteriors dimension by dimension, got DiagonalLap"):
        tiny(AdaGVAE, posterior=DiagonalLaplace)
