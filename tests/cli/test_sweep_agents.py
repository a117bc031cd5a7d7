"""Every packaged sweep with the real ``wandb sweep`` and ``wandb agent`` against a local server."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from forking import Forking
from wandb_stub import Stub, read_back

from vae_zoo.cli.commands.sweep_check import chosen_runs, expand
from vae_zoo.cli.inspect.configs import packaged_sweeps

pytestmark = pytest.mark.slow
pytest.importorskip("wandb", reason="the extra wandb is not installed")

ROOT = Path(__file__).parents[2]
SWEEPS = packaged_sweeps()
SHORT = {
    "trainer.max_epochs": 1,
    "trainer.limit_train_batches": 2,
    "trainer.limit_val_batches": 1,
    "trainer.num_sanity_val_steps": 0,
    "evidence.num_samples": 2,
}
SMALL = {"beta_vae_sprites": {"data.num_examples": 600, "data.image_size": 64}}
"""What the server adds to the parameters of a run, so that it is over in a second: the file stays as it is shipped."""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Where an agent finds ``vae-zoo`` and MNIST, and no account and no settings of the user's."""
    folder = tmp_path_factory.mktemp("agents")
    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, num in (("train", 60_000), ("t10k", 16)):
        image = np.random.default_rng(0).integers(0, 256, (1, 28, 28), np.uint8)
        images = np.broadcast_to(image, (num, 28, 28)).copy()
        images[::2] = 255 - image  # of one image over and over nothing can be learned
        for kind, array in (("images", images), ("labels", np.zeros(num, np.uint8))):
            header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
            (raw / f"{part}-{kind}-idx{array.ndim}-ubyte").write_bytes(header + array.tobytes())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    with Forking(folder) as server:
        paths = {"PATH": f"{server.path}:{kept['PATH']}", "PYTHONPATH": str(ROOT), "HOME": str(folder)}
        yield {
            **kept,
            **paths,
            "VAE_ZOO_DATA": str(folder),
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_API_KEY": "a" * 40,
        }


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", SWEEPS)
def test_sweep_and_agent(name: str, environment: dict[str, str], tmp_path: Path) -> None:
    sweep = yaml.safe_load(SWEEPS[name].read_text())
    chosen = chosen_runs(sweep, 16)
    runs = [chosen[n] for n in (0, -1)]
    given = [{key: {"value": value} for key, value in {**run, **SHORT, **SMALL.get(name, {})}.items()} for run in runs]
    with Stub(given, sweep["method"]) as stub:
        ours = {**environment, "WANDB_BASE_URL": stub.url, "WANDB_ENTITY": "me", "WANDB_PROJECT": "vae_zoo"}
        for command in (["sweep", str(SWEEPS[name])], ["agent", "--count", "2", "me/vae_zoo/sweep0"]):
            done = subprocess.run(
                [sys.executable, "-m", "wandb", *command], cwd=tmp_path, env=ours, capture_output=True, text=True
            )
            assert done.returncode == 0, done.stdout + done.stderr
        stub.shutdown()
    assert yaml.safe_load(stub.sweep) == sweep, "what was registered is what is shipped"
    assert stub.exits == {"run0": 0, "run1": 0}, done.stdout + done.stderr
    metric = sweep["metric"]["name"]
    for n, run in enumerate(runs):
        config = stub.config(f"run{n}")
        assert {key: config[key] for key in run} == run
        check_config(config, run)
        history = stub.files[f"run{n}/wandb-history.jsonl"]
        assert any(isinstance(line.get(metric), float) for line in history), done.stdout + done.stderr
        assert isinstance(stub.files[f"run{n}/wandb-summary.json"][-1][metric], float)
        assert len(list(tmp_path.glob("results/*/fit_*/metrics.csv"))) == 2


@pytest.mark.exhaustive
def test_a_run_of_an_agent_offline(environment: dict[str, str], tmp_path: Path) -> None:
    sweep = yaml.safe_load(SWEEPS["vae_digits"].read_text())
    run = chosen_runs(sweep, 1)[-1]
    given = {"WANDB_MODE": "offline", "WANDB_SWEEP_ID": "s", "WANDB_RUN_ID": "r"}
    given["WANDB_SWEEP_PARAM_PATH"] = str(tmp_path / "parameters.yaml")
    parameters = {"wandb_version": 1, **{name: {"value": value} for name, value in run.items()}}
    (tmp_path / "parameters.yaml").write_text(yaml.safe_dump(parameters))
    command = expand(sweep, {**run, **SHORT})
    done = subprocess.run(command, cwd=tmp_path, env={**environment, **given}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.glob("wandb/offline-run-*/run-r.wandb")
    kept = read_back(file)
    assert {name: kept.config[name] for name in run} == run
    check_config(kept.config, run)
    assert any(isinstance(step.get(sweep["metric"]["name"]), float) for step in kept.history)


def check_config(config: dict[str, Any], run: dict[str, Any]) -> None:
    """The whole nested configuration, with classes, has the values that the sweep chose."""
    for group in ("model", "data"):
        assert config[group]["class_path"].startswith("vae_zoo.")
    assert config["trainer"]["max_epochs"] == 1
    assert config["trainer"]["logger"]["class_path"] == "vae_zoo.loggers.Wandb"
    for key, value in run.items():
        place: Any = config
        for part in key.split("."):
            if isinstance(place, dict) and "init_args" in place:
                place = place["init_args"]
            place = place[part]
        if key == "config":
            continue
        assert (place["class_path"] if isinstance(place, dict) else place) == value
