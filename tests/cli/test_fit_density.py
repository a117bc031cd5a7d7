"""``vae-zoo fit-density``: a checkpoint of the same model under a fitted prior."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import load_arrays, saved, tiny, tiny_data
from short import few

import vae_zoo
from vae_zoo.checkpoints.load import read
from vae_zoo.elbo import post_hoc_prior
from vae_zoo.models import AE, VAE, VQVAE, ConditionalVAE, LadderVAE
from vae_zoo.samplers import GMM, latents, with_prior

MINE = """
from vae_zoo.samplers import FittedNormal
class Mine(FittedNormal): ...
class Other: ...
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    torch.manual_seed(0)
    return str(saved(tmp_path, tiny(VAE), tiny_data()))


def fit_density(run: Callable, path: Any, *options: str) -> Any:
    return run("fit-density", "--ckpt_path", str(path), *options)


@pytest.mark.exhaustive
def test_the_checkpoint_is_one_like_any_other(run: Callable, path: str, tmp_path: Path) -> None:
    done = fit_density(run, path, "--density", "GMM", "--density.num_components", "3", "--density.num_starts=2")
    assert done.code == 0, done.err
    *scores, out = done.out.splitlines()
    assert out.endswith("VAE_GMM.ckpt")
    assert [line.partition(":")[0].rpartition(" ")[2] for line in scores] == ["StandardNormal", "GMM"]
    model = vae_zoo.load(out)
    assert model.recorded()["init_args"]["prior"] == {
        "class_path": "vae_zoo.samplers.GMM",
        "init_args": {"num_components": 3, "num_starts": 2, "max_steps": 200, "tolerance": 1e-4, "seed": 0},
    }
    before = vae_zoo.load(path)
    expected = with_prior(before, GMM((4,), num_components=3, num_starts=2).fit(latents(before, tiny_data())))
    assert all(torch.equal(x, expected.state_dict()[name]) for name, x in model.state_dict().items())
    assert read(out)["vae_zoo"]["data"] == read(path)["vae_zoo"]["data"]

    assert run("sample", "--ckpt_path", out, "--num", "5", "--out", "s.npz").code == 0
    torch.manual_seed(0)
    assert np.allclose(load_arrays("s.npz")["x"], model.sample(5).numpy())
    assert run("export", "--ckpt_path", out, "--format", "torch-export").code == 0
    tested = run("test", "--ckpt_path", out, "--evidence.num_samples", "5", "--trainer.logger", "false")
    assert tested.code == 0, tested.err
    assert "prior GMM (post hoc)" in " ".join(tested.out.split())
    assert "log_evidence" in tested.out


@pytest.mark.exhaustive
def test_one_seed_one_checkpoint(run: Callable, path: str) -> None:
    for out, seed in (("a.ckpt", "1"), ("b.ckpt", "1"), ("c.ckpt", "2")):
        call = ("--density", "GMM", "--density.num_components", "2", "--num", "30", "--out", out, "--seed", seed)
        assert fit_density(run, path, *call).code == 0
    a, b, c = (read(f"{name}.ckpt")["state_dict"] for name in "abc")
    assert all(torch.equal(x, b[name]) for name, x in a.items())
    assert not all(torch.equal(x, c[name]) for name, x in a.items())
    assert int(a["latent_prior.num_latents"]) == 30


def test_codes(run: Callable, tmp_path: Path) -> None:
    path = saved(tmp_path, tiny(VQVAE), tiny_data())
    few = ("--density.max_epochs", "2", "--density.width", "8")
    done = fit_density(run, path, "--density", "CodeDensity", *few)
    assert done.code == 0, done.err
    model = vae_zoo.load("VQVAE_CodeDensity.ckpt")
    assert post_hoc_prior(model) == "CodeDensity"
    assert model.sample(2).shape == (2, 1, 8, 8)


@pytest.mark.exhaustive
def test_an_autoencoder_becomes_one_with_a_prior(run: Callable, tmp_path: Path) -> None:
    path = saved(tmp_path, tiny(AE), tiny_data())
    assert run("sample", "--ckpt_path", str(path)).code == 2
    done = fit_density(run, path, "--density", "GMM", "--density.num_components", "2")
    assert done.code == 0, done.err
    assert done.out.count("log p(z)") == 1, "there was no prior before"
    assert run("sample", "--ckpt_path", "AE_GMM.ckpt", "--num", "4").code == 0
    tested = run("test", "--ckpt_path", "AE_GMM.ckpt", "--trainer.logger", "false")
    assert (tested.code, "PriorAE" in tested.out, "prior GMM (post hoc)" in " ".join(tested.out.split())) == (
        0,
        True,
        True,
    )


@pytest.mark.exhaustive
def test_labels(run: Callable, tmp_path: Path) -> None:
    path = saved(tmp_path, tiny(ConditionalVAE), tiny_data())
    assert fit_density(run, path, "--density", "FittedNormal").code == 0
    assert vae_zoo.load("ConditionalVAE_FittedNormal.ckpt").sample(3).shape == (3, 1, 8, 8)


@pytest.mark.exhaustive
def test_a_shared_folder(run: Callable, path: str) -> None:
    pytest.importorskip("safetensors")
    assert run("export", "--ckpt_path", path, "--format", "safetensors", "--out", "shared").code == 0
    done = fit_density(run, "shared", "--density", "FittedNormal")
    assert done.code == 0, done.err
    assert post_hoc_prior(vae_zoo.load("shared/model_FittedNormal.ckpt")) == "FittedNormal"


@pytest.mark.exhaustive
def test_a_class_of_ones_own(run: Callable, path: str, tmp_path: Path) -> None:
    (tmp_path / "my_densities.py").write_text(MINE)
    done = fit_density(run, path, "--density", "my_densities.Mine")
    assert done.code == 0, done.err
    assert run("sample", "--ckpt_path", "VAE_Mine.ckpt", "--trust", "my_densities").code == 0
    assert (
        "unexpected keyword argument" in fit_density(run, path, "--density", "my_densities.Mine", "--density.a=1").err
    )
    other = fit_density(run, path, "--density", "my_densities.Other")
    assert "must be a class derived from vae_zoo.samplers.Density, my_densities.Other is not" in other.err


@pytest.mark.parametrize(
    ("options", "said"),
    few(
        [
            ((), "missing: --density"),
            (("--density", "GM"), "--density: there is no class GM, did you mean GMM?"),
            (("--density", "Density"), "there is no class Density"),
            (("--density", "GMM", "--density.components", "3"), "GMM has no setting components"),
            (("--density", "GMM", "--density.num_components", "0"), "num_components must be at least 1, got 0"),
            (("--density", "GMM", "--density.num_components", "x"), "num_components must be a whole number, got 'x'"),
            (("--density", "GMM", "--density.num_components", "49"), "GMM needs at least 49 latents, got 48"),
            (("--density", "GMM", "--num", "0"), "--num must be at least 1, got 0"),
            (("--density", "GMM", "--seed", "-1"), "--seed must be at least 0"),
            (("--density", "GMM", "--out", "a.pt"), "--out must end in .ckpt, got a.pt"),
            (("--density", "GMM", "--out", "none/a.ckpt"), "there is no folder none"),
            (("--density", "GMM", "--out", "VAE.ckpt"), "--out must be a new file, VAE.ckpt is the checkpoint"),
            (("--density", "GMM", "--outt", "a.ckpt"), "unknown option --outt, did you mean --out?"),
            (("--density", "CodeDensity"), "VAE has no discrete codes, which CodeDensity is over"),
            (("--density", "torch.nn.Linear"), "must be a class derived from vae_zoo.samplers.Density"),
            (("--density", "os.system"), "os.system is not allowed here"),
        ],
        1,
    ),
)
def test_mistakes(options: tuple[str, ...], said: str, run: Callable, path: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    done = fit_density(run, path, *options)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
    assert said in done.err
    assert sorted(tmp_path.iterdir()) == before


def test_models_that_take_none(run: Callable, tmp_path: Path) -> None:
    done = fit_density(run, saved(tmp_path, tiny(LadderVAE), tiny_data()), "--density", "GMM")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "the prior of LadderVAE is part of the model, and cannot be replaced" in done.err
    done = fit_density(run, saved(tmp_path, tiny(VAE)), "--density", "GMM")
    assert "names no data, as after a fit in Python" in done.err
    done = fit_density(run, "none.ckpt", "--density", "GMM")
    assert (done.code, "no checkpoint at none.ckpt" in done.err) == (2, True)
