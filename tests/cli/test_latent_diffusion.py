"""Export in the format of diffusers' AutoencoderKL, read by diffusers itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import saved, tiny
from lightning.pytorch import seed_everything
from short import few
from torch import Tensor

from vae_zoo.distributions import Bernoulli, DiagonalLaplace, DiscretizedLogistic, FixedNormal, OptimalNormal
from vae_zoo.export import export
from vae_zoo.export.latent_diffusion import CONFIG, WEIGHTS, convert
from vae_zoo.models import VAE, ConditionalVAE, ConvVAE
from vae_zoo.nn import Dense
from vae_zoo.nn.pictures import ResidualDecoder, ResidualEncoder, ShuffleConv
from vae_zoo.training.latent_scale import LatentScale
from vae_zoo.typing import Shape

SHAPE = (3, 16, 8)
SCALE = LatentScale([0.1, 0.2], [0.5, 0.6], 1.7, 100)
SMALL: dict[str, Any] = {"width": 8, "multipliers": (1, 2), "num_blocks": 1}


class Spatial(VAE):
    """Latents are a grid, of half the size of the image."""

    @property
    def latent_shape(self) -> Shape:
        return (self.latent_dim, *(side // 2 for side in self.shape[1:]))


class Centred(Spatial):
    """The encoder is given images in [-1, 1]."""

    def read(self, x: Tensor) -> Tensor:
        return 2 * super().read(x) - 1


class SpatialConditional(ConditionalVAE, Spatial):
    def encode(self, x: Tensor, c: Tensor | None = None) -> Any:
        return Spatial.encode(self, x, c)


def model_of(cls: Any = Spatial, *, encoder: dict[str, Any] | None = None, **kwargs: Any) -> Any:
    """A model whose weights are all random, also those that begin at 0 or 1."""
    seed_everything(0)
    networks = {
        "encoder": partial(ResidualEncoder, **SMALL, **(encoder or {})),
        "decoder": partial(ResidualDecoder, **SMALL, **(encoder or {})),
    }
    given = {"shape": SHAPE, "latent_dim": 2, "likelihood": OptimalNormal, **networks, **kwargs}
    model = cls(**given).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.latent_scale = SCALE
    return model


@pytest.mark.parametrize(
    ("cls", "encoder"),
    few(
        [
            (Spatial, {}),
            (Centred, {}),
            pytest.param(Spatial, {"attention": False}, marks=pytest.mark.exhaustive),
            pytest.param(Centred, {"attention_levels": (0, 1)}, marks=pytest.mark.exhaustive),
            pytest.param(Spatial, {"num_blocks": 2, "multipliers": (1, 3)}, marks=pytest.mark.exhaustive),
        ],
        1,
    ),
)
def test_diffusers_gives_the_same_numbers(cls: Any, encoder: dict[str, Any], tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers", reason="in the extra diffusion")
    model = model_of(cls, encoder={key: value for key, value in encoder.items() if key not in SMALL})
    (written,) = export(model, tmp_path / "out", "diffusers")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted((CONFIG, WEIGHTS))
    again = diffusers.AutoencoderKL.from_pretrained(tmp_path / "out", low_cpu_mem_usage=False).eval()
    assert again.config.scaling_factor == SCALE.scale
    x, z = torch.rand(3, *SHAPE), torch.randn(3, *model.latent_shape)
    with torch.no_grad():
        q, found = model.encode(x), again.encode(2 * x - 1 if cls is Centred else x).latent_dist
        decoded = again.decode(z).sample
        expected = model.decode(z).mean
    assert (found.mean - q.mean).abs().max() < 1e-4
    assert (found.std - q.stddev).abs().max() < 1e-4
    assert (((decoded + 1) / 2 if cls is Centred else decoded) - expected).abs().max() < 1e-4
    assert q.mean.std() > 0.01
    assert expected.std() > 0.01, "a comparison of zeros"
    assert f"images in {'[-1, 1]' if cls is Centred else '[0, 1]'}" in str(written)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: model_of(encoder={}, likelihood=Bernoulli), "the mean of Bernoulli is a nonlinear function of what"),
        (lambda: model_of(likelihood=DiscretizedLogistic), "the mean of DiscretizedLogistic is a nonlinear function"),
        (lambda: model_of(posterior=DiagonalLaplace), "its posterior must be DiagonalNormal, got DiagonalLaplace"),
        (lambda: model_of(encoder=None, decoder=partial(ResidualDecoder, **{**SMALL, "width": 16})), "differ in width"),
        (
            lambda: model_of(decoder=partial(ResidualDecoder, **SMALL, upsampling=ShuffleConv)),
            "its decoder must go up by ResizeConv",
        ),
        (lambda: model_of(decoder=Dense), "it has other networks than ResidualEncoder and ResidualDecoder"),
        (lambda: model_of(VAE), "its examples must be images and its latents a grid of channels"),
        (lambda: model_of(SpatialConditional, num_classes=3), "it takes labels, for which the format has no place"),
        (lambda: model_of(shape=(3, 9, 8)), r"the sides of images must be divisible by 2, got \(9, 8\)"),
    ],
)
def test_what_the_format_has_not_is_refused(make: Callable[[], Any], why: str) -> None:
    with pytest.raises(ValueError, match=rf"^\w+ cannot be written in the format diffusers: [^\n]*{why}[^\n]*\.$"):
        convert(make())


def test_a_model_whose_latents_have_not_been_measured(tmp_path: Path) -> None:
    model = model_of(likelihood=FixedNormal)
    model.latent_scale = None
    with pytest.raises(ValueError, match=r"its latents have not been measured: set latent_scale to vae_zoo\."):
        export(model, tmp_path / "out", "diffusers")
    assert list(tmp_path.iterdir()) == []


def test_other_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("diffusers", reason="in the extra diffusion")

    def wrong(model: Any) -> Any:
        config, weights = convert(model)
        weights["encoder.mid_block.resnets.1.conv2.weight"] += 0.01
        return config, weights

    monkeypatch.setattr("vae_zoo.export.latent_diffusion.convert", wrong)
    with pytest.raises(ValueError, match=r"safetensors gives other numbers than the model: z differs by"):
        export(model_of(), tmp_path / "out", "diffusers")
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line(run: Callable, tmp_path: Path) -> None:
    pytest.importorskip("diffusers", reason="in the extra diffusion")
    path = str(saved(tmp_path, tiny(ConvVAE)))
    outcome = run("export", "--ckpt_path", path, "--format", "diffusers", "--out", "here")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert "ConvVAE cannot be written in the format diffusers: it has other networks" in outcome.err
    assert not (tmp_path / "here").exists()


def test_a_missing_package_is_one_line(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(saved(tmp_path, tiny(VAE)))
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: None if name == "diffusers" else found(name, *a))
    outcome = run("export", "--ckpt_path", path, "--format", "diffusers")
    assert outcome.code == 2
    assert outcome.err.endswith("the format diffusers needs diffusers: pip install 'vae_zoo[diffusion]'.\n")
