from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vae_zoo import callbacks, distributions, nn
from vae_zoo.cli import packaged
from vae_zoo.cli.commands.show import named


def test_a_model(run: Callable) -> None:
    out = run("show", "BetaVAE").out
    assert out.startswith("BetaVAE: VAE with a weighted rate")
    for text in (
        "Higgins et al., 2017",
        "https://openreview.net/forum?id=Sy2fzU9gl",
        "beta_vae_digits, beta_vae_mnist, beta_vae_sprites",
        "vae-zoo fit --config beta_vae_digits\n",
        "--model.beta  float = 4.0\n      Weight β of the rate.\n",
        "arguments from VAE\n",
        "--model.latent_dim  int = 16\n",
    ):
        assert text in out
    assert "--model.shape" not in out, "it is linked"


def test_data_say_what_they_need(run: Callable) -> None:
    out = run("show", "Arrays").out
    assert "vae-zoo fit --model VAE --data Arrays --data.path …\n" in out
    assert "--data.batch_size  int = 128\n" in out


@pytest.mark.parametrize(
    ("name", "fit"),
    [
        ("MLPVAE", "--config vae_digits"),
        ("VAE", "--model VAE --data Digits --trainer.max_epochs 20"),
        ("MNIST", "--config vae_mnist"),
        ("Sprites", "--model VAE --data Sprites"),
    ],
)
def test_the_first_fit_is_a_packaged_one_where_there_is_one(name: str, fit: str, run: Callable) -> None:
    assert f"  run it   vae-zoo fit {fit}\n" in run("show", name).out


def test_a_component(run: Callable) -> None:
    out = run("show", "Dense").out
    assert "vae_zoo.nn.Dense" in out
    assert "  hidden  Sequence[int] = (512, 512)\n" in out
    assert "in_shape" not in out, "the model gives it"
    assert "arguments from RichProgressBar\n  " in run("show", "TimedProgressBar").out
    for module in (nn, distributions, callbacks):
        classes = {name for name in module.__all__ if isinstance(getattr(module, name), type)}
        assert classes <= set(named())


@pytest.mark.parametrize("name", ["vae_mnist", "vae_mnist.yaml", "debug"])
def test_a_configuration_is_its_file(name: str, run: Callable) -> None:
    path = packaged()[Path(name).stem]
    out = run("show", name).out
    assert out.startswith(f"# {path}\n")
    assert yaml.safe_load(out) == yaml.safe_load(path.read_text())


@pytest.mark.parametrize("name", sorted(named()))
def test_every_class_can_be_shown(name: str, run: Callable) -> None:
    outcome = run("show", name)
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 120 or "Callable[" in outcome.out
