"""``--wandb`` adds the part of that name, and its options are the logger's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vae_zoo.cli.run.wandb_flags import spelled_out, wandb_options


def test_without_it_nothing_changes() -> None:
    args = ["--config", "x", "--model.beta", "2", "--wandbb"]
    assert spelled_out(args) == args


def test_the_logger_stands_where_the_flag_stood() -> None:
    args = ["--model", "VAE", "--wandb", "--wandb.project", "p", "--wandb.tags=[a,b]", "--seed_everything", "1"]
    assert spelled_out(args) == [
        "--latents.every_n_epochs=10",
        *("--model", "VAE", "--trainer.logger=Wandb", "--trainer.logger.project", "p", "--trainer.logger.tags=[a,b]"),
        *("--seed_everything", "1"),
    ]
    assert spelled_out(["--wandb.mode=offline"])[1:] == ["--trainer.logger=Wandb", "--trainer.logger.mode=offline"]


def test_options_are_those_of_the_logger() -> None:
    known = {"wandb", "wandb.project", "wandb.name", "wandb.id", "wandb.mode", "wandb.log_model", "wandb.save_dir"}
    assert known <= set(wandb_options())


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--wandb.projct", "p"], "unknown option --wandb.projct, did you mean --wandb.project?"),
        (["--wandb=p"], "--wandb takes no value, got p: the project is --wandb.project."),
        (["--wandb.mode", "offlin"], "trainer.logger.mode"),
        (["--wandb", "--model.bta", "2"], "unknown key bta, did you mean beta?"),
    ],
)
def test_a_mistake_is_one_line(args: list[str], said: str, run: Callable) -> None:
    pytest.importorskip("wandb")
    outcome = run("fit", "--model", "BetaVAE", "--data", "Digits", *args)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert said in outcome.err
    assert len(outcome.err) <= 201


@pytest.mark.exhaustive
def test_the_flag_is_the_part(run: Callable, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    flag = run("fit", "--config", "vae_digits", "--wandb", "--print_config")
    part = run("fit", "--config", "vae_digits", "--config", "wandb", "--print_config")
    assert flag.code == part.code == 0
    assert flag.out == part.out
    printed = yaml.safe_load(flag.out)
    assert printed["trainer"]["logger"]["class_path"] == "vae_zoo.loggers.Wandb"
    assert printed["latents"]["every_n_epochs"] == 10
