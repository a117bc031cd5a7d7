"""The packaged sweeps of Weights & Biases, by its own agent: expanded, run offline, and run against a server here."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb_stub import Stub

from vae_zoo.cli.configs import find_config, packaged, packaged_sweeps
from vae_zoo.cli.sweeps import check_schema, chosen_runs, expand

ROOT = Path(__file__).parents[2]
SWEEPS = packaged_sweeps()
SHORT = [f"--trainer.{option}" for option in ("max_epochs=1", "limit_train_batches=2", "limit_val_batches=1")]
SHORT += [f"--{grid}.every_n_epochs=0" for grid in ("samples", "reconstructions", "traversals")]


@pytest.fixture
def wandb() -> Any:
    return pytest.importorskip("wandb", reason="the extra wandb is not installed")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Where an agent finds ``vae-zoo``, and no account and no settings of the user's."""
    script = tmp_path / "bin" / "vae-zoo"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m vae_zoo "$@"\n')
    script.chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    paths = {"PATH": f"{script.parent}:{kept['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    return {**kept, **paths, "WANDB_ERROR_REPORTING": "false", "WANDB_DIR": str(tmp_path)}


def shortened(name: str) -> dict[str, Any]:
    sweep = yaml.safe_load(SWEEPS[name].read_text())
    return {**sweep, "command": [*sweep["command"][:-1], *SHORT, sweep["command"][-1]]}


def test_sweeps_are_no_configs() -> None:
    assert set(SWEEPS) == {path.stem for path in (ROOT / "configs" / "sweeps").glob("*.yaml")}
    assert not set(SWEEPS.values()) & set(packaged().values())
    assert find_config("beta_vae_digits").parent.name == "configs"


@pytest.mark.parametrize("name", SWEEPS)
def test_packaged_sweep_is_right(name: str, wandb: Any, run: Callable) -> None:
    outcome = run("sweep-check", name, "--num", "6")
    assert (outcome.code, outcome.err) == (0, "")
    sweep = yaml.safe_load(SWEEPS[name].read_text())
    for text in (*sweep["parameters"], sweep["metric"]["name"], f"wandb sweep {SWEEPS[name]}"):
        assert text in outcome.out
    assert SWEEPS[name].read_text().startswith("# "), "what it is for"


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
    assert outcome.err == ("vae-zoo: error: sweeps need wandb, which is not installed: pip install 'vae_zoo[wandb]'.\n")


@pytest.mark.slow
def test_an_offline_run(wandb: Any, tmp_path: Path, environment: dict[str, str]) -> None:
    sweep = shortened("vae_digits")
    run = chosen_runs(sweep, 1)[-1]
    given = {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r"}
    given["WANDB_SWEEP_PARAM_PATH"] = str(tmp_path / "parameters.yaml")
    parameters = {"wandb_version": 1, **{name: {"value": value} for name, value in run.items()}}
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(parameters))
    done = subprocess.run(
        expand(sweep, run), cwd=tmp_path, env={**environment, **given}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("wandb/offline-run-*/run-r.wandb")
    config, history = read_back(file)
    assert {name: config[name] for name in run} == run
    assert config["model"]["init_args"]["latent_dim"] == run["model.latent_dim"]
    assert config["model"]["init_args"]["optimizer"]["init_args"]["lr"] == run["model.optimizer.lr"]
    assert isinstance(history[sweep["metric"]["name"]], float)


@pytest.mark.slow
def test_a_sweep_and_its_agent(wandb: Any, tmp_path: Path, environment: dict[str, str]) -> None:
    sweep = shortened("beta_vae_digits")
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(sweep, sort_keys=False))
    runs = [chosen_runs(sweep, 15)[n] for n in (0, -1)]
    with Stub([{name: {"value": value} for name, value in run.items()} for run in runs]) as stub:
        given = {"WANDB_BASE_URL": f"http://127.0.0.1:{stub.server_port}", "WANDB_API_KEY": "a" * 40}
        given |= {"WANDB_ENTITY": "me", "WANDB_PROJECT": "vae_zoo"}
        for command in (["sweep", "sweep.yaml"], ["agent", "--count", "2", "me/vae_zoo/sweep0"]):
            command = [sys.executable, "-m", "wandb", *command]
            done = subprocess.run(command, cwd=tmp_path, env={**environment, **given}, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        stub.shutdown()
    assert yaml.safe_load(stub.sweep)["parameters"] == sweep["parameters"]
    for n, run in enumerate(runs):
        config = {name: entry["value"] for name, entry in stub.configs[f"run{n}"].items() if "value" in entry}
        assert {name: config[name] for name in run} == run
        assert config["model"]["class_path"] == "vae_zoo.models.BetaVAE"
        assert config["model"]["init_args"]["beta"] == run["model.beta"]
        assert any("val/elbo" in line for line in stub.files[f"run{n}/wandb-history.jsonl"])
        assert "val/elbo" in stub.files[f"run{n}/wandb-summary.json"][-1]


def read_back(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configuration and last history of a run, out of the log that it leaves offline."""
    from wandb.proto.wandb_internal_pb2 import Record

    config: dict[str, Any] = {}
    history: dict[str, Any] = {}
    for text in records(file.read_bytes()):
        record = Record.FromString(text)
        for item in [*record.run.config.update, *record.config.update]:
            config[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
        for item in record.history.item:
            history[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    return config, history


def records(log: bytes) -> Iterator[bytes]:
    """Records of a log in LevelDB's format: blocks of 32 KiB, whose first begins with a header of 7 bytes."""
    place, text = 7, b""
    while place + 7 <= len(log):
        if 32768 - place % 32768 < 7:  # too little for a record: padding
            place += 32768 - place % 32768
            continue
        _, length, part = struct.unpack("<IHB", log[place : place + 7])
        text += log[place + 7 : place + 7 + length]
        place += 7 + length
        if part in (1, 4):  # whole, or the last part
            yield text
            text = b""
