"""Command line over config over checkpoint over default, and a line for each overridden value of the checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from short import few

import vae_zoo
from vae_zoo.cli import main
from vae_zoo.distributions import OptimalNormal

SMALL = "--model.latent_dim 4 --model.encoder.hidden [8] --model.decoder.hidden [8] "
NONE = "samples", "reconstructions", "traversals"
QUICK = " ".join(f"--trainer.{name} false" for name in ("enable_progress_bar", "enable_model_summary", "logger"))
QUICK += " " + " ".join(f"--{name}.every_n_epochs 0" for name in NONE)
QUIET = "--trainer.enable_progress_bar false "
FEW = {"validate": "", "test": "--evidence.num_samples 2", "predict": "--predictions.num_samples 2"}
LINE = "vae-zoo: not as in the checkpoint: "


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a fit of one epoch, in a schedule that has halved the learning rate."""
    root = tmp_path_factory.mktemp("fitted")
    schedule = (
        "--model.optimizer Adam --model.optimizer.lr 2e-3 --model.scheduler StepLR --model.scheduler.step_size 1 "
    )
    schedule += "--model.scheduler.gamma 0.5 "
    line = f"fit --model BetaVAE --data Digits --model.beta 4 {SMALL} {schedule} --trainer.max_epochs 1 {QUICK}"
    main(shlex.split(f"{line} --trainer.default_root_dir {root}"))
    return root / "BetaVAE_Digits/fit_0/checkpoints/last.ckpt"


def said(err: str) -> list[str]:
    lines = [line for line in err.splitlines() if line.startswith("vae-zoo: ")]
    return [line for line in lines if not line.startswith("vae-zoo: likelihood ")]


def resumed(folder: Path) -> dict:
    (path,) = folder.glob("results/*/fit_0/checkpoints/last.ckpt")
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("verb", few(FEW, 1))
def test_the_command_line_wins_and_it_is_said(run: Callable, tmp_path: Path, fitted: Path, verb: str) -> None:
    more = (
        "--evidence.num_samples 2 " if verb == "test" else "--predictions.num_samples 2 " if verb == "predict" else ""
    )
    line = f"{verb} --ckpt_path {fitted} --trainer.enable_progress_bar false {more}"
    quiet = run(*shlex.split(line))
    assert (quiet.code, said(quiet.err)) == (0, [])
    loud = run(*shlex.split(f"{line} --model.beta 7 --data.eval_batch_size 90"))
    assert loud.code == 0, loud.err
    assert said(loud.err) == [f"{LINE}model.beta 7.0 (was 4.0), data.eval_batch_size 90 (was None)"]
    config = yaml.safe_load((tmp_path / f"results/BetaVAE_Digits/{verb}_1/config.yaml").read_text())
    assert config["model"]["init_args"]["beta"] == 7
    assert config["model"]["init_args"]["latent_dim"] == 4  # of the checkpoint, not the default


@pytest.mark.exhaustive
def test_a_config_wins_over_the_checkpoint_and_loses_to_the_command_line(
    run: Callable, tmp_path: Path, fitted: Path
) -> None:
    (tmp_path / "five.yaml").write_text("model: {class_path: BetaVAE, init_args: {beta: 5}}\n")
    line = f"validate --ckpt_path {fitted} --config five.yaml {QUIET}"
    assert said(run(*shlex.split(line)).err) == [f"{LINE}model.beta 5.0 (was 4.0)"]
    assert said(run(*shlex.split(f"{line} --model.beta 6")).err) == [f"{LINE}model.beta 6.0 (was 4.0)"]
    assert said(run(*shlex.split(f"{line} --model.beta 4")).err) == []


@pytest.mark.parametrize(
    ("asked", "line", "rate"),
    few(
        [
            ("", "", 2e-3 / 4),
            ("--model.beta 7", "model.beta 7.0 (was 4.0)", 2e-3 / 4),
            ("--model.optimizer.lr 1e-2", "model.optimizer.lr 0.01 (was 0.002)", 1e-2 / 4),
            ("--model.optimizer.weight_decay 0.1", "model.optimizer.weight_decay 0.1 (was 0.0)", 2e-3 / 4),
            ("--model.scheduler.gamma 0.1", "model.scheduler.gamma 0.1 (was 0.5)", 2e-3 * 0.1),
            ("--model.optimizer AdamW --model.optimizer.lr 3e-3", "model.optimizer AdamW (was Adam)", 3e-3 / 2),
        ],
        1,
    ),
)
def test_a_resumed_fit_takes_what_is_asked(
    run: Callable, tmp_path: Path, fitted: Path, asked: str, line: str, rate: float
) -> None:
    outcome = run(*shlex.split(f"fit --ckpt_path {fitted} {asked} --trainer.max_epochs 2 {QUICK}"))
    assert outcome.code == 0, outcome.err
    assert said(outcome.err) == ([LINE + line] if line else [])
    saved = resumed(tmp_path)
    (group,) = saved["optimizer_states"][0]["param_groups"]
    assert saved["epoch"] == 1
    assert group["lr"] == pytest.approx(rate)
    assert group["weight_decay"] == pytest.approx(0.1 if "decay" in asked else 0.01 if "AdamW" in asked else 0)


@pytest.mark.exhaustive
def test_another_architecture_does_not_fit(run: Callable, tmp_path: Path, fitted: Path) -> None:
    outcome = run(*shlex.split(f"fit --ckpt_path {fitted} --model.latent_dim 5 --trainer.max_epochs 2 {QUICK}"))
    assert outcome.code == 2
    (line,) = said(outcome.err)  # and no notice that the checkpoint's value is overridden, which it is not
    assert "the weights in the checkpoint do not fit the model that was asked for" in line
    assert not (tmp_path / "results").exists()


@pytest.mark.exhaustive
def test_another_class_is_refused(run: Callable, fitted: Path) -> None:
    outcome = run(
        *shlex.split(f"test --ckpt_path {fitted} --model VAE --data Digits --trainer.enable_progress_bar false")
    )
    assert outcome.code == 2
    assert said(outcome.err)[-1].endswith(
        "the checkpoint holds a vae_zoo.models.BetaVAE, the model is a vae_zoo.models.VAE."
    )


@pytest.mark.exhaustive
def test_an_optimizer_has_its_own_defaults(run: Callable, tmp_path: Path) -> None:
    """jsonargparse hands Adam's weight decay of 0 on to AdamW (its issue 460)."""
    optimizer = "optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.01}}"
    (tmp_path / "a.yaml").write_text(f"model: {{class_path: VAE, init_args: {{{optimizer}}}}}\ndata: Digits\n")
    for start, rate in (("--config a.yaml", 0.01), ("--model VAE --data Digits", 0.001)):
        line = f"fit {start} --model.optimizer torch.optim.AdamW --print_config"
        found = yaml.safe_load(run(*shlex.split(line)).out)["model"]["init_args"]["optimizer"]["init_args"]
        assert (found["lr"], found["weight_decay"]) == (rate, 0.01)


@pytest.mark.parametrize("option", few(["--config", "-c"], 1))
def test_arguments_of_a_class_that_is_replaced_are_named(run: Callable, tmp_path: Path, option: str) -> None:
    (tmp_path / "a.yaml").write_text(
        "model: {class_path: BetaVAE, init_args: {beta: 5, latent_dim: 3}}\ndata: Digits\n"
    )
    outcome = run(*shlex.split(f"fit {option} a.yaml --model VAE --trainer.fast_dev_run 1 {QUICK}"))
    assert outcome.code == 0, outcome.err
    assert said(outcome.err) == ["vae-zoo: given to a class that was replaced, and dropped: beta of BetaVAE in a.yaml"]
    outcome = run(*shlex.split(f"fit --config a.yaml --model.beta 2 --trainer.fast_dev_run 1 {QUICK}"))
    assert said(outcome.err) == []


@pytest.mark.exhaustive
def test_a_likelihood_that_nobody_chose_is_said_once_and_kept(run: Callable, tmp_path: Path) -> None:
    line = f"fit --model BetaVAE --data Digits {SMALL} {QUICK} --trainer.limit_train_batches 2 --trainer.max_epochs"
    first = run(*shlex.split(f"{line} 1"))
    lines = [row for row in first.err.splitlines() if "likelihood" in row]
    assert lines == [
        "vae-zoo: likelihood OptimalNormal, since the data are not binary; --model.likelihood chooses another one."
    ]
    folder = tmp_path / "results/BetaVAE_Digits/fit_0"
    config = yaml.safe_load((folder / "config.yaml").read_text())["model"]["init_args"]
    assert config["likelihood"]["class_path"] == "vae_zoo.distributions.OptimalNormal"
    path = folder / "checkpoints/last.ckpt"
    assert isinstance(vae_zoo.load(path).likelihood, OptimalNormal)
    for verb in ("test", "fit"):
        more = (
            "--evidence.num_samples 2" if verb == "test" else "--trainer.max_epochs 2 --trainer.limit_train_batches 2"
        )
        again = run(*shlex.split(f"{verb} --ckpt_path {path} {more} {QUICK}"))
        assert (again.code, "likelihood" in again.err) == (0, False), again.err
    chosen = run(*shlex.split(f"{line} 1 --model.likelihood Bernoulli"))
    assert (chosen.code, "likelihood" in chosen.err) == (0, False), chosen.err


@pytest.mark.exhaustive
def test_a_checkpoint_without_a_likelihood_is_bernoulli(run: Callable, tmp_path: Path, fitted: Path) -> None:
    checkpoint = torch.load(fitted, weights_only=True)
    for args in (checkpoint["hyper_parameters"], checkpoint["vae_zoo"]["model"]["init_args"]):
        del args["likelihood"]
    checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if not k.startswith("likelihood.")}
    torch.save(checkpoint, tmp_path / "old.ckpt")
    outcome = run(*shlex.split(f"validate --ckpt_path old.ckpt {QUIET}"))
    assert (outcome.code, said(outcome.err)) == (0, []), outcome.err
    (path,) = tmp_path.glob("results/*/validate_0/config.yaml")
    found = yaml.safe_load(path.read_text())["model"]["init_args"]["likelihood"]
    assert found["class_path"] == "vae_zoo.distributions.Bernoulli"
