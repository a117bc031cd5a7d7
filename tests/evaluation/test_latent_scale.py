from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from forked import ranks
from helpers import quiet_trainer, tiny, tiny_data
from lightning.pytorch.callbacks import EMAWeightAveraging
from torch import Tensor

import vae_zoo
from vae_zoo.callbacks import LatentStatistics
from vae_zoo.checkpoints.load import read
from vae_zoo.evaluation import latent_scale
from vae_zoo.models import AE, VAE, VQVAE
from vae_zoo.training.latent_scale import LatentMoments, LatentScale

SCALE = LatentScale([0.1, 0.2, 0.3, 0.4], [1.0, 2.0, 3.0, 4.0], 0.5, 10)


def moments(mean: Tensor, std: Tensor) -> LatentScale:
    sums = LatentMoments(mean.shape[1], mean.device)
    for part in zip(mean.split(7), std.split(7), strict=True):
        sums.add(*part)
    return sums.compute(len(mean))


def test_moments_are_those_of_draws() -> None:
    torch.manual_seed(0)
    loc = torch.tensor([3.0, -1.0])[:, None, None] + torch.tensor([2.0, 0.1])[:, None, None] * torch.randn(50, 2, 3, 4)
    std = torch.rand(50, 2, 3, 4)
    found = moments(loc, std)
    z = (loc + std * torch.randn(4000, *loc.shape)).flatten(0, 1)
    assert found.mean == pytest.approx(z.mean((0, 2, 3)).tolist(), abs=0.01)
    assert found.std == pytest.approx(z.std((0, 2, 3)).tolist(), rel=0.01)
    assert found.scale == pytest.approx(1 / z.std().item(), rel=0.01)
    assert (z * found.scale).var().item() == pytest.approx(1, rel=0.01)
    standard = found.standardised(z)
    assert standard.mean((0, 2, 3)).abs().max() < 0.01
    assert standard.var((0, 2, 3)).tolist() == pytest.approx([1, 1], rel=0.01)
    assert torch.allclose(found.original(standard), z, atol=1e-5)


def test_moments_far_from_zero() -> None:
    loc = 1e4 + torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    assert moments(loc, torch.zeros_like(loc)).std == pytest.approx([loc.double().std(correction=0).item()], rel=1e-4)


def test_a_constant_channel_is_refused() -> None:
    loc = torch.stack([torch.arange(5.0), torch.ones(5)], 1)
    with pytest.raises(
        ValueError, match=r"^channel 1 of the latents is the same for all examples, and has no scale\.$"
    ):
        moments(loc, torch.zeros_like(loc))


def test_of_a_model_and_its_data() -> None:
    model, data = tiny(VAE).train(), tiny_data()
    found = latent_scale(model, data, "val", num=None)
    assert model.training
    with torch.no_grad():
        q = model.encode(data.load("val").x.float() / 255)
        assert found.mean == pytest.approx(q.mean.mean(0).tolist(), abs=1e-5)
        variance = q.mean.var(0, correction=0) + q.variance.mean(0)
        assert found.std == pytest.approx(variance.sqrt().tolist(), rel=1e-5)
    assert found.num == len(data.load("val").x)
    assert latent_scale(model, data, num=10) == latent_scale(model, data, num=10) != latent_scale(model, data, num=20)
    with pytest.raises(ValueError, match=r"^num must be at least 1, got 0\.$"):
        latent_scale(model, data, num=0)
    with pytest.raises(ValueError, match=r"^VQVAE has discrete latents, which have no mean and scale\.$"):
        latent_scale(tiny(VQVAE, shape=(1, 8, 8)), data)


def test_every_checkpoint_has_those_of_its_weights(tmp_path: Path) -> None:
    data = tiny_data()
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[LatentStatistics(num=48)])
    trainer.fit(model := tiny(AE), data)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = vae_zoo.load(tmp_path / "a.ckpt")
    assert again.latent_scale == model.latent_scale
    expected = latent_scale(again, data, num=None)
    assert again.latent_scale.mean == pytest.approx(expected.mean, abs=1e-6)
    assert again.latent_scale.scale == pytest.approx(expected.scale, rel=1e-5)
    again.save_pretrained(tmp_path / "shared")
    assert vae_zoo.from_pretrained(str(tmp_path / "shared")).latent_scale == again.latent_scale


@pytest.mark.parametrize("first", [True, pytest.param(False, marks=pytest.mark.exhaustive)])
def test_of_averaged_weights(first: bool, tmp_path: Path) -> None:
    callbacks = [LatentStatistics(num=48), EMAWeightAveraging(decay=0.9, use_buffers=False)]
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=callbacks if first else callbacks[::-1])
    torch.manual_seed(0)
    trainer.fit(model := tiny(AE), data := tiny_data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    again = vae_zoo.load(tmp_path / "a.ckpt")
    assert again.latent_scale.std == pytest.approx(latent_scale(again, data, num=None).std, rel=1e-5)
    assert again.latent_scale.std == model.latent_scale.std


def _on_two(rank: int, folder: Path) -> None:
    torch.manual_seed(0)
    data, model = tiny_data(num_examples=400), tiny(AE)
    quiet_trainer(folder, devices=2, max_epochs=1, callbacks=[LatentStatistics(num=300)]).fit(model, data)
    assert model.latent_scale is not None
    expected = latent_scale(model, data, num=300)
    assert model.latent_scale.mean == pytest.approx(expected.mean, abs=1e-6)
    assert model.latent_scale.std == pytest.approx(expected.std, rel=1e-5)
    assert model.latent_scale.num == 300


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_processes_share_the_examples(tmp_path: Path) -> None:
    with ranks(tmp_path, _on_two, tmp_path) as running:
        assert running.codes(60) == [0, 0], running.said()


def test_a_fit_that_goes_on_has_none_until_they_are_measured(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=1, callbacks=[LatentStatistics(num=48)])
    trainer.fit(tiny(AE), tiny_data())
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    assert "latents" in read(tmp_path / "a.ckpt")["vae_zoo"]
    quiet_trainer(tmp_path, max_epochs=2).fit(model := tiny(AE), tiny_data(), ckpt_path=tmp_path / "a.ckpt")
    assert model.latent_scale is None


@pytest.mark.parametrize(
    "changed",
    [
        {"mean": [0.0]},
        {"std": [1.0, 1.0, 1.0, 0.0]},
        {"scale": float("nan")},
        {"scale": -1.0},
        {"num": 0},
        {"mean": ["a", "b", "c", "d"]},
        {"mean": 3},
        {"more": 1},
    ],
)
def test_damaged_statistics(changed: dict[str, Any]) -> None:
    assert LatentScale.of(SCALE._asdict(), 4, "it") == SCALE
    with pytest.raises(ValueError, match=r"^it is damaged: its statistics of latents are not those of 4 channels\.$"):
        LatentScale.of({**SCALE._asdict(), **changed}, 4, "it")
    with pytest.raises(ValueError, match="it is damaged"):
        LatentScale.of([1], 4, "it")


def test_bad_arguments(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^num must be at least 1, got 0\.$"):
        LatentStatistics(num=0)
    with pytest.raises(ValueError, match="has discrete latents"):
        quiet_trainer(tmp_path, callbacks=[LatentStatistics()]).fit(tiny(VQVAE), tiny_data())
