"""The command from end to end, as a new user runs it."""

from __future__ import annotations

import csv
import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import load_arrays
from lightning.pytorch import Trainer
from short import few

from vae_zoo import hub
from vae_zoo.cli import find_config, packaged_configs
from vae_zoo.models import BetaVAE

FIT = ("fit", "--model", "BetaVAE", "--model.beta", "2", "--model.latent_dim", "3", "--data", "Digits")
SHORT = ("--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a finished run."""
    from vae_zoo.cli import main

    folder = tmp_path_factory.mktemp("fitted")
    before = Path.cwd()
    os.chdir(folder)
    try:
        main([*FIT, *SHORT, "--model.encoder.hidden", "[32]"])
    finally:
        os.chdir(before)
    return folder / "results" / "BetaVAE_Digits" / "fit_0"


@pytest.fixture
def checkpoint(fitted: Path) -> str:
    return str(fitted / "checkpoints" / "last.ckpt")


def test_fit_leaves_everything_in_the_folder_of_its_run(fitted: Path) -> None:
    files = {str(path.relative_to(fitted)) for path in fitted.rglob("*") if path.is_file()}
    pictures = {f"images/{name}_0001.png" for name in ("samples", "reconstructions", "traversals")}
    assert files >= {"checkpoints/last.ckpt", "checkpoints/0001.ckpt", "config.yaml", "metrics.csv", *pictures}
    assert any("tfevents" in name for name in files)


def test_the_saved_config_says_what_was_asked_and_can_be_run_again(fitted: Path, run: Callable) -> None:
    config = yaml.safe_load((fitted / "config.yaml").read_text())
    assert config["model"]["init_args"]["beta"] == 2
    assert config["model"]["init_args"]["encoder"]["init_args"]["hidden"] == [32]
    assert config["checkpoint"]["dirpath"] is None
    assert str(fitted) not in (fitted / "config.yaml").read_text()
    outcome = run("fit", "--config", str(fitted / "config.yaml"), *SHORT)
    assert outcome.code == 0
    again = hub.read("results/BetaVAE_Digits/fit_0/checkpoints/last.ckpt")["state_dict"]
    first = hub.read(fitted / "checkpoints" / "last.ckpt")["state_dict"]
    assert all(torch.equal(again[k], v) for k, v in first.items())


@pytest.mark.parametrize("verb", ["test", "sample", "export --format safetensors"])
def test_the_folder_of_a_fit_stands_for_its_last_checkpoint(verb: str, fitted: Path, run: Callable) -> None:
    done = run(*verb.split(), "--ckpt_path", str(fitted))
    assert done.code == 0, done.err


def test_a_checkpoint_loads_with_no_other_argument(checkpoint: str) -> None:
    model = BetaVAE.load_from_checkpoint(checkpoint, weights_only=True).eval()
    x = torch.rand(5, 1, 8, 8)
    assert model.beta == 2
    assert torch.equal(model.reconstruct(x), hub.load(checkpoint).reconstruct(x))


@pytest.mark.exhaustive
def test_two_runs_do_not_share_a_folder(run: Callable) -> None:
    for _ in range(2):
        assert run(*FIT, *SHORT).code == 0
    assert sorted(path.name for path in Path("results/BetaVAE_Digits").iterdir()) == ["fit_0", "fit_1"]


@pytest.mark.exhaustive
def test_fit_says_where_everything_is(run: Callable) -> None:
    out = run(*FIT, *SHORT).out
    for name in ("checkpoint", "config", "samples", "reconstructions", "metrics"):
        line = next(line for line in out.splitlines() if line.startswith(f"{name} "))
        assert Path(line.split()[1]).is_file()


def test_test_from_a_checkpoint_alone_prints_a_table(run: Callable, checkpoint: str) -> None:
    outcome = run("test", "--ckpt_path", checkpoint, "--evidence.num_samples", "20")
    assert outcome.code == 0
    for word in (
        "elbo",
        "reconstruction",
        "kl",
        "log_evidence",
        "20 importance samples",
        "bits_per_dim",
        "active_units",
    ):
        assert word in outcome.out
    assert outcome.out.splitlines()[-1].split() == ["metrics", "results/BetaVAE_Digits/test_0/metrics.csv"]
    with Path("results/BetaVAE_Digits/test_0/metrics.csv").open() as file:
        row = next(csv.DictReader(file))
    assert "epoch" not in row, "which would be that of a trainer that has trained nothing"
    assert float(row["test/elbo"]) <= float(row["test/log_evidence"])
    assert float(row["test/elbo"]) == pytest.approx(float(row["test/reconstruction"]) - float(row["test/kl"]), abs=1e-3)
    config = yaml.safe_load(Path("results/BetaVAE_Digits/test_0/config.yaml").read_text())
    assert config["model"]["init_args"]["beta"] == 2


def test_validate_from_a_checkpoint_equals_the_last_validation_of_the_fit(
    run: Callable, fitted: Path, checkpoint: str
) -> None:
    outcome = run("validate", "--ckpt_path", checkpoint)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1].split() == ["metrics", "results/BetaVAE_Digits/validate_0/metrics.csv"]
    with Path("results/BetaVAE_Digits/validate_0/metrics.csv").open() as file:
        value = float(next(csv.DictReader(file))["val/elbo"])
    with (fitted / "metrics.csv").open() as file:
        fit = [float(row["val/elbo"]) for row in csv.DictReader(file) if row["val/elbo"]]
    assert value == pytest.approx(fit[-1], abs=1e-4)


def test_predict_from_a_checkpoint_alone_writes_files(run: Callable, checkpoint: str) -> None:
    assert run("predict", "--ckpt_path", checkpoint).code == 0
    folder = Path("results/BetaVAE_Digits/predict_0")
    latents = load_arrays(folder / "latents.npz")
    assert latents["z"].shape[1] == 3
    assert len(latents["z"]) == len(latents["y"]) == len(load_arrays(folder / "reconstructions.npz")["reconstruction"])
    for name in ("samples", "reconstructions", "interpolations", "traversals"):
        assert (folder / f"{name}.png").is_file()
        assert (folder / f"{name}.npz").is_file()


@pytest.mark.exhaustive
def test_predict_keeps_nothing_in_memory(run: Callable, checkpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    @functools.wraps(Trainer.predict)  # the parser looks at its arguments
    def predict(*args: Any, **kwargs: Any) -> None:
        asked.append(kwargs)

    monkeypatch.setattr(Trainer, "predict", predict)
    assert run("predict", "--ckpt_path", checkpoint).code == 0
    assert asked[0]["return_predictions"] is False


@pytest.mark.parametrize(
    ("model", "arrived"),
    few([("AE", {}), ("BetaTCVAE", {"num_train": 1397}), ("ConditionalVAE", {"num_classes": 10})], 1),
)
def test_what_the_data_say_arrives_and_is_saved(run: Callable, model: str, arrived: dict[str, int]) -> None:
    few = ("--trainer.limit_train_batches", "1")
    assert run("fit", "--model", model, "--data", "Digits", *few, *SHORT).code == 0
    saved = hub.read(f"results/{model}_Digits/fit_0/checkpoints/last.ckpt")["hyper_parameters"]
    linked = {name: saved[name] for name in ("shape", "num_train", "num_classes") if name in saved}
    assert linked == {"shape": [1, 8, 8], **arrived}


@pytest.mark.parametrize("option", few(["--ckpt_path={}", "--ckpt_path {}"], 1))
def test_the_command_line_outdoes_the_checkpoint(run: Callable, checkpoint: str, option: str) -> None:
    assert run("validate", *option.format(checkpoint).split(), "--model.beta", "7").code == 0
    config = yaml.safe_load(Path("results/BetaVAE_Digits/validate_0/config.yaml").read_text())
    assert config["model"]["init_args"]["beta"] == 7
    assert config["model"]["init_args"]["latent_dim"] == 3


@pytest.mark.parametrize(
    ("option", "said"),
    few(
        [
            ("--model AE", "the checkpoint holds a vae_zoo.models.BetaVAE, the model is a vae_zoo.models.AE"),
            ("--model.latent_dim 5", "do not fit the model that was asked for"),
            ("--data Sprites --data.num_examples 50", "the checkpoint is of examples of shape (1, 8, 8)"),
        ],
        1,
    ),
)
def test_another_model_or_data_than_the_checkpoints_is_one_line(
    run: Callable, checkpoint: str, option: str, said: str
) -> None:
    outcome = run("test", "--ckpt_path", checkpoint, *option.split())
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    assert not Path("results").exists()


def test_a_fit_goes_on_from_the_last_checkpoint(run: Callable) -> None:
    assert run(*FIT, *SHORT).code == 0
    assert run(*FIT, "--trainer.max_epochs", "2", "--ckpt_path", "last").code == 0
    assert run(*FIT, "--trainer.max_epochs", "2").code == 0
    resumed, whole = (hub.read(f"results/BetaVAE_Digits/fit_{n}/checkpoints/last.ckpt")["state_dict"] for n in (1, 2))
    assert all(torch.equal(resumed[key], whole[key]) for key in whole)


@pytest.mark.exhaustive
def test_the_last_checkpoint_is_the_last_also_when_an_earlier_one_is_the_best(run: Callable) -> None:
    first = ("--checkpoint.monitor", "epoch", "--checkpoint.mode", "min")
    assert run(*FIT, *first, "--trainer.max_epochs", "3").code == 0
    folder = Path("results/BetaVAE_Digits/fit_0/checkpoints")
    assert [path.name for path in sorted(folder.iterdir())] == ["0001.ckpt", "last.ckpt"]
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 2


@pytest.mark.exhaustive
def test_a_fit_goes_on_from_a_checkpoint_without_naming_the_model(run: Callable, checkpoint: str) -> None:
    assert run("fit", "--ckpt_path", checkpoint, "--trainer.max_epochs", "2").code == 0
    saved = torch.load("results/BetaVAE_Digits/fit_0/checkpoints/last.ckpt", weights_only=True)
    assert (saved["epoch"], saved["vae_zoo"]["model"]["init_args"]["beta"]) == (1, 2)


@pytest.mark.exhaustive
def test_epochs_are_numbered_alike_everywhere(run: Callable) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    every = ("--checkpoint.save_top_k=-1", "--samples.every_n_epochs=1", "--checkpoint.verbose=true")
    assert (
        run(
            *FIT, "--data.batch_size=128", *every, *SHORT, "--trainer.max_epochs=2", "--trainer.log_every_n_steps=5"
        ).code
        == 0
    )
    folder = Path("results/BetaVAE_Digits/fit_0")
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {"0001.ckpt", "0002.ckpt", "last.ckpt"}
    assert {path.name for path in (folder / "images").glob("samples*")} == {"samples_0001.png", "samples_0002.png"}
    with (folder / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "1", "1", "2", "2", "2"]
    events = EventAccumulator(str(next(folder.glob("events*")))).Reload()
    assert {event.value for event in events.Scalars("epoch")} == {1, 2}


@pytest.mark.exhaustive
def test_lines_about_checkpoints_count_from_one(run: Callable, logged: list[str]) -> None:
    assert run(*FIT, *SHORT, "--checkpoint.verbose=true", "--data.batch_size=128").code == 0
    assert any(line.startswith("Epoch 1, global step 11: 'val/elbo' reached") for line in logged), logged
    assert not any("Epoch 0" in line for line in logged)


@pytest.mark.exhaustive
@pytest.mark.parametrize("option", few(["--trainer.enable_checkpointing=false", "--trainer.barebones=true"], 1))
def test_a_fit_without_checkpoints(run: Callable, option: str) -> None:
    given = ("--trainer.max_epochs=1", *(() if "barebones" in option else ("--trainer.enable_progress_bar=false",)))
    outcome = run(*FIT, *given, option)
    assert outcome.code == 0, outcome.err
    assert not list(Path("results").rglob("*.ckpt"))
    assert Path("results/BetaVAE_Digits/fit_0/config.yaml").is_file()


@pytest.mark.exhaustive
def test_fast_dev_run_writes_nothing(run: Callable) -> None:
    assert run(*FIT, "--trainer.fast_dev_run", "true").code == 0
    assert not Path("results").exists()


@pytest.mark.exhaustive
def test_an_ae_is_watched_by_its_loss(run: Callable) -> None:
    outcome = run("fit", "--model", "AE", "--data", "Digits", *SHORT)
    assert outcome.code == 0
    assert not list(Path("results").rglob("samples*.png"))
    saved = hub.read("results/AE_Digits/fit_0/checkpoints/last.ckpt")
    assert any("val/loss" in str(state) for state in saved["callbacks"].values())


def test_configs_are_found_by_name_and_those_on_disk_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    packaged = find_config("vae_mnist")
    assert packaged.name == "vae_mnist.yaml"
    assert packaged_configs(["fit", "--config=vae_mnist", "-c", "vae_mnist"])[1:] == [
        f"--config={packaged}",
        "-c",
        str(packaged),
    ]
    Path("vae_mnist").write_text("model: AE")
    assert find_config("vae_mnist") == Path("vae_mnist")


MY_VAE = """
from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.models import VAE


class MyVAE(VAE):
    def __init__(self, *, gamma: float = 2.0, **kwargs):
        super().__init__(**kwargs)
        self.gamma = gamma

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return {"loss": (self.gamma * elbo.kl.abs() - elbo.log_px.mean(0)).mean()}
"""


@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_users_own_model_through_the_installed_script(run: Callable, tmp_path: Path) -> None:
    (tmp_path / "my_vae.py").write_text(MY_VAE)
    script = shutil.which("vae-zoo", path=str(Path(sys.executable).parent)) or "vae-zoo"
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}

    options = ["--model.gamma=3", "--model.likelihood=Bernoulli", *SHORT]
    command = [script, "fit", "--model", "my_vae.MyVAE", "--data", "Digits", *options]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), "advertisements or deprecations"
    path = "results/MyVAE_Digits/fit_0/checkpoints/last.ckpt"
    assert "log_evidence" in run("test", "--ckpt_path", path, "--evidence.num_samples", "5", "--trust", "my_vae").out
    sys.modules.pop("my_vae")
    assert hub.read(tmp_path / path)["vae_zoo"]["model"]["init_args"]["gamma"] == 3


@pytest.mark.exhaustive
def test_a_plugin_offers_its_classes_by_their_short_names(
    run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other_package.py").write_text(MY_VAE.replace("MyVAE", "OtherVAE"))
    info = tmp_path / "other_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[vae_zoo.plugins]\nother = other_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert run("fit", "--model", "OtherVAE", "--data", "Digits", "--trainer.fast_dev_run", "true").code == 0
