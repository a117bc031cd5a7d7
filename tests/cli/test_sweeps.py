"""The packaged sweeps of Weights & Biases: checked, expanded as ."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from short import few

from vae_zoo.cli.commands.list import chosen
from vae_zoo.cli.commands.sweep_check import check_schema, chosen_runs, expand
from vae_zoo.cli.inspect.configs import find_config, packaged, packaged_sweeps

ROOT = Path(__file__).parents[2]
SWEEPS = packaged_sweeps()


@pytest.fixture
def wandb() -> Any:
    return pytest.importorskip("wandb", reason="the extra wandb is not installed")


def test_sweeps_are_no_configs() -> None:
    assert set(SWEEPS) == {path.stem for path in (ROOT / "configs" / "sweeps").glob("*.yaml")}
    assert not set(SWEEPS.values()) & set(packaged().values())
    assert find_config("beta_vae_digits").parent.name == "configs"


def test_every_form_is_shipped() -> None:
    sweeps = [yaml.safe_load(path.read_text()) for path in SWEEPS.values()]
    assert {sweep["method"] for sweep in sweeps} == {"grid", "random", "bayes"}
    assert any(sweep.get("early_terminate", {}).get("type") == "hyperband" for sweep in sweeps)


def test_the_comparison_is_of_every_bound_under_one_likelihood() -> None:
    """Bounds under different likelihoods do not compare."""
    from vae_zoo import models

    configs = [path for name, path in packaged().items() if name.endswith("_digits")]
    bounds = [path for path in configs if getattr(models, chosen(path, "model")).monitor == "val/elbo"]
    likelihoods = {
        path.stem: yaml.safe_load(path.read_text())["model"]["init_args"].get("likelihood", {}).get("class_path")
        for path in bounds
    }
    compared = yaml.safe_load(SWEEPS["models_digits"].read_text())["parameters"]["config"]["values"]
    assert set(compared) == {name for name, likelihood in likelihoods.items() if likelihood == "FixedNormal"}


@pytest.mark.parametrize("name", few(SWEEPS, 1))
def test_packaged_sweep_is_right(name: str, wandb: Any, run: Callable) -> None:
    outcome = run("sweep-check", name, "--num", "2")
    assert (outcome.code, outcome.err) == (0, "")
    sweep = yaml.safe_load(SWEEPS[name].read_text())
    for text in (*sweep["parameters"], sweep["metric"]["name"], f"wandb sweep {SWEEPS[name]}"):
        assert text in outcome.out
    assert SWEEPS[name].read_text().startswith("# "), "what it is for"


@pytest.mark.exhaustive
def test_a_grid_is_counted_and_its_first_command_shown(wandb: Any, run: Callable) -> None:
    lines = run("sweep-check", "beta_vae_digits", "--num", "6").out.splitlines()
    command = "/usr/bin/env vae-zoo fit --config beta_vae_digits --config wandb --model.beta=0.5 --model.latent_dim=4"
    assert f"first run {command}" in lines
    assert "runs      15 in the grid; 6 parsed" in lines


def test_of_many_runs_every_value_is_looked_at() -> None:
    sweep = {"parameters": {"a": {"values": list("abcdef")}, "b": {"values": list(range(50))}, "c": {"value": 1}}}
    runs = chosen_runs(sweep, 32)
    assert len(runs) < 60
    assert {run["a"] for run in runs} == set("abcdef")
    assert {run["b"] for run in runs} == set(range(50))
    assert runs[0] == {"a": "a", "b": 0, "c": 1}
    assert {"a": "f", "b": 49, "c": 1} in runs
    assert len(chosen_runs({"parameters": {"a": {"values": [1, 2]}, "b": {"values": [1, 2, 3]}}}, 6)) == 6


@pytest.mark.parametrize("name", SWEEPS)
def test_wandb_schema(name: str) -> None:
    sweep = yaml.safe_load(SWEEPS[name].read_text())
    if not check_schema(sweep):
        pytest.skip("wandb's package sweeps is not installed: it asks for numpy < 2")
    with pytest.raises(ValueError, match=r"wandb's schema: .*methid"):
        check_schema({**sweep, "methid": "grid"})


@pytest.mark.parametrize("form", ["${args}", "${args_no_equals}", "${args_json_file}"])
def test_the_command_is_the_agents(form: str, wandb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wandb import wandb_agent

    monkeypatch.chdir(tmp_path)
    (tmp_path / "wandb" / "sweep-s").mkdir(parents=True)
    for name in ("SWEEP_ID", "RUN_ID", "SWEEP_PARAM_PATH"):
        monkeypatch.setenv(f"WANDB_{name}", "s")
    started: list[list[str]] = []

    class Process:
        def __init__(self, command: list[str], **kwargs: Any) -> None:
            started.append(command)

    monkeypatch.setattr(wandb_agent, "AgentProcess", Process)
    agent = wandb_agent.Agent.__new__(wandb_agent.Agent)  # its constructor asks a server
    vars(agent).update(_in_jupyter=False, _function=None, _forward_signals=False, _run_processes={})
    sweep = {"program": "vae-zoo", "command": ["${env}", "${program}", "fit", "-c", "${envvar:HOME}", form, "${other}"]}
    run = {"model": "BetaVAE", "model.beta": 2.0, "model.compiled": True, "model.encoder.hidden": [64, 64]}
    agent._sweep_command = list(sweep["command"])
    args = {name: {"value": value} for name, value in run.items()}
    agent._command_run({"run_id": "r", "program": sweep["program"], "args": args})
    assert expand(sweep, run, "wandb/sweep-s/config-r.json") == started[0]


def test_without_wandb_there_is_one_line(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("wandb.sdk.launch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "wandb", None)
    outcome = run("sweep-check", "beta_vae_digits")
    assert outcome.code == 2
    assert outcome.err == ("vae-zoo: error: a sweep needs wandb: pip install 'vae_zoo[wandb]'.\n")
