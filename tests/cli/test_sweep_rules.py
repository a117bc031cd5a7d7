"""Mistakes in sweep files are named, with their key, before a run is started."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import MODELS, tiny
from short import few

from vae_zoo.cli.sweeps.draws import points
from vae_zoo.cli.sweeps.rules import logged

GOOD: dict[str, Any] = {
    "method": "grid",
    "metric": {"name": "val/elbo", "goal": "maximize"},
    "parameters": {"model.beta": {"values": [1.0, 4.0]}},
    "program": "vae-zoo",
    "command": ["${env}", "${program}", "fit", "--config", "beta_vae_digits", "--config", "wandb", "${args}"],
}
HEAD = GOOD["command"][:-1]
FILE = [*HEAD, "--config", "${args_json_file}"]
PLAIN = [  # what is changed, and what is said of it
    ({"command": None}, "command is missing, and the default one runs python vae-zoo, which fails"),
    ({"command": ["${env}", "${interpreter}", "${program}", "fit", "${args}"]}, "${interpreter} runs python vae-zoo"),
    ({"command": [*HEAD, "${args_no_boolean_flags}"]}, "${args_no_boolean_flags} leaves out what is false"),
    ({"command": [*HEAD, "${argss}"]}, "command: word ${argss} is unknown, did you mean ${args}?"),
    ({"command": HEAD}, "the parameters reach no run"),
    ({"command": [*HEAD, "--config=${args_json_file}"]}, "the parameters reach no run"),
    ({"command": [*HEAD, "${args_json_file}"]}, "needs --config before it"),
    ({"command": "vae-zoo fit"}, "command must be a list"),
    ({"program": None}, "program is missing"),
    ({"metod": "grid"}, "key metod is unknown, did you mean method?"),
    ({"method": "gird"}, "method gird is unknown, did you mean grid?"),
    ({"method": None}, "method is missing"),
    ({"parameters": None}, "parameters are missing"),
    ({"method": "bayes", "metric": None}, "metric is missing"),
    ({"metric": {"goal": "maximize"}}, "metric has no name"),
    ({"metric": {"name": "val/elbo", "goal": "maximise"}}, "goal maximise is unknown, did you mean maximize?"),
    ({"parameters": {"model": {"parameters": {"beta": {"value": 1}}}}}, "write model.beta with a dot"),
    ({"parameters": {"model.class_path": {"values": ["VAE"]}}}, "model.class_path: choose a class by model,"),
    ({"parameters": {"model.beta": {"value": 1}, "model": {"value": "BetaVAE"}}}, "model must stand before model.beta"),
    ({"parameters": {"model.beta": {"values": [1, None]}}}, "model.beta: null arrives as the word None"),
    ({"parameters": {"model.beta": 4}}, "model.beta needs values: write model.beta: {value: 4}"),
    ({"parameters": {"model.beta": {"value s": [4]}}}, "model.beta: key value s is unknown, did you mean values?"),
    ({"parameters": {"model.beta": {"values": []}}}, "values must be a list with something in it"),
    ({"parameters": {"model.beta": {"min": 1.0}}}, "model.beta needs a value, values, or min and max"),
    ({"parameters": {"model.beta": {"min": 1.0, "max": 4.0}}}, "a grid needs values"),
    ({"parameters": {"model.beta": {"min": 4, "max": 1}}}, "min must be less than max, got 4 and 1"),
    (
        {"method": "random", "parameters": {"model.beta": {"min": "1e-7", "max": 1.0}}},
        "is the text '1e-7', not a number: write 0.0000001.",
    ),
    ({"method": "random", "parameters": {"model.beta": {"min": 1, "max": 4.5}}}, "must both be whole numbers or both"),
    (
        {"method": "random", "parameters": {"model.beta": {"distribution": "unifrom", "min": 1.0, "max": 2.0}}},
        "model.beta: distribution unifrom is unknown, did you mean uniform?",
    ),
    (
        {"method": "random", "parameters": {"model.beta": {"distribution": "uniform", "min": 1.0}}},
        "model.beta needs a value, values, or min and max",
    ),
    (
        {"parameters": {"model.beta": {"distribution": "q_uniform", "min": 1, "max": 2, "q": 0}}},
        "model.beta: q must be above 0, got 0",
    ),
    ({"method": "random", "run_cap": "ten"}, "run_cap is the text 'ten', not a number: write one."),
    ({"early_terminate": {"min_iter": 3}}, "early_terminate needs a type"),
    ({"early_terminate": {"type": "hyperband", "eta": 3}}, "early_terminate needs min_iter, or max_iter and s"),
    ({"early_terminate": {"type": "hyperband", "min_iter": 0}}, "early_terminate: min_iter must be above 0, got 0"),
    ({"early_terminate": {"type": "hyperband", "miniter": 3}}, "key miniter is unknown, did you mean min_iter?"),
    (
        {"command": FILE, "parameters": {"model": {"value": "BetaVAE"}, "model.beta": {"value": 1}}},
        "model and its arguments do not fit into one file",
    ),
]
EXPANDED = [
    ({"program": "train.py"}, "command: it runs train.py: write program: vae-zoo"),
    ({"command": ["python", "${program}", "fit", "${args}"]}, "there is no script for python vae-zoo"),
    ({"command": ["${program}", "--config", "vae_digits", "${args}"]}, "fit must follow"),
    ({"command": ["${program}", "fit", "--config", "beta_vae_digit", "${args}"]}, "did you mean beta_vae_digits?"),
    ({"command": ["${program}", "fit", "--config", "beta_vae_digits", "${args}"]}, "do not log to Weights & Biases"),
    ({"parameters": {"model.bta": {"value": 4}}}, "unknown key bta, did you mean beta?"),
    ({"parameters": {"modle.beta": {"value": 4}}}, "did you mean --model?"),
    ({"parameters": {"modle.beta": {"value": 4}}, "command": FILE}, "parameters: unknown key 'modle.beta'"),
    ({"parameters": {"trainer.max_epoch": {"value": 4}}}, "did you mean trainer.max_epochs?"),
    ({"parameters": {"model.latent_dim": {"values": [4, 8.0]}}}, "latent_dim: expected int, got 8.0"),
    ({"parameters": {"model": {"values": ["BetaVAE", "BtaVAE"]}}}, "did you mean BetaVAE?"),
    ({"metric": {"name": "val/elb", "goal": "maximize"}}, "BetaVAE logs no val/elb, did you mean val/elbo?"),
    ({"metric": {"name": "elbo", "goal": "maximize"}}, "BetaVAE logs no elbo, did you mean val/elbo?"),
    ({"metric": {"name": "val/mig", "goal": "maximize"}}, "BetaVAE logs no val/mig"),
    ({"metric": {"name": "val/elbo"}}, "val/elbo has no goal, which means minimize: write goal: maximize"),
    ({"parameters": {"model": {"values": ["BetaVAE", "AE"]}}}, "AE logs no val/elbo, did you mean"),
]


@pytest.fixture
def mistake(run: Callable, tmp_path: Path) -> Callable[[dict[str, Any]], str]:
    """The line that is said of a sweep that is good but for some keys; None removes one."""

    def call(change: dict[str, Any]) -> str:
        sweep = {key: value for key, value in {**deepcopy(GOOD), **change}.items() if value is not None}
        (tmp_path / "s.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
        outcome = run("sweep-check", "s.yaml")
        assert (outcome.code, outcome.out, outcome.err.count("\n")) == (2, "", 1)
        assert outcome.err.startswith("vae-zoo: error: s.yaml: ") or "config file" in outcome.err
        assert len(outcome.err) <= 201
        return outcome.err

    return call


@pytest.mark.parametrize(("change", "said"), PLAIN, ids=lambda value: value[:40] if isinstance(value, str) else "")
def test_what_the_file_shows(change: dict[str, Any], said: str, mistake: Callable) -> None:
    assert said in mistake(change)


@pytest.mark.parametrize(
    ("change", "said"), few(EXPANDED, 2), ids=lambda value: value[:40] if isinstance(value, str) else ""
)
def test_what_the_runs_show(change: dict[str, Any], said: str, mistake: Callable) -> None:
    pytest.importorskip("wandb")
    assert said in mistake(change)


def test_no_such_file(run: Callable) -> None:
    outcome = run("sweep-check", "beta_vae_digit")
    assert outcome.code == 2
    assert (
        "no sweep file beta_vae_digit, and no packaged sweep of that name, did you mean beta_vae_digits?" in outcome.err
    )


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_names_of_curves_are_those_that_are_logged(cls: type, images: torch.Tensor) -> None:
    model = tiny(cls)
    c = torch.zeros(len(images), dtype=torch.long)
    names = {name for name in model.curves(model.losses(images, c)) if not name[-1:].isdigit()}  # kl_1 of a layer
    assert names <= set(logged(f"{cls.__module__}.{cls.__name__}"))


def test_points_are_values_or_the_ends_and_the_middle() -> None:
    assert points({"value": None}) == [None]
    assert points({"min": 2, "max": 4}) == [2, 3, 4]
    assert points({"min": 0.0, "max": 1.0}) == [0.0, 0.5, 1.0]
    assert points({"distribution": "q_uniform", "min": 4, "max": 16, "q": 4}) == [4, 8, 12]
    assert points({"distribution": "q_uniform", "min": 0.1, "max": 0.7, "q": 0.2}) == pytest.approx([0.1, 0.3, 0.5])
    assert points({"distribution": "q_uniform", "min": 0, "max": 1, "q": 2}) == [0]
    assert points({"distribution": "log_uniform_values", "min": 0.01, "max": 1.0}) == pytest.approx([0.01, 0.1, 1.0])
    assert points({"distribution": "normal", "mu": 1.0, "sigma": 2.0}) == pytest.approx([-3.0, 1.0, 5.0])
