"""The benchmarks that reproduce published results: each row is complete, and the script runs."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from short import few

from vae_zoo.cli import main

FOLDER = Path(__file__).parents[1] / "benchmarks" / "reproduce"
ROWS: dict[str, dict[str, Any]] = yaml.safe_load((FOLDER / "rows.yaml").read_text())

DIGITS = """
seed_everything: 0
model: {class_path: BetaVAE, init_args: {latent_dim: 2}}
data: {class_path: Digits}
trainer: {max_epochs: 1, limit_train_batches: 2}
"""


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", few(ROWS, 2))
def test_a_row(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = ROWS[name]
    assert {"what", "unit", "paper", "figure", "goal", "shortened"} <= set(row)
    config = FOLDER / f"{row.get('config', name)}.yaml"
    text = config.read_text()
    assert text.startswith("# ")
    data = yaml.safe_load(text)["data"]
    needs = {"MNIST": "MNIST", "FreyFaces": "FreyFace"}.get(data if isinstance(data, str) else data["class_path"])
    if needs and not (Path(os.environ.get("VAE_ZOO_DATA", "")) / needs).is_dir():
        pytest.skip(f"the {needs} files are not in VAE_ZOO_DATA")
    if "pytorch_optimizer" in text:
        pytest.importorskip("pytorch_optimizer", reason="the optimizer of this row is in the extra benchmarks")
    monkeypatch.chdir(tmp_path)
    fit = ["fit", "--config", str(config), *map(str, row.get("fit", []))]
    main([*fit, "--trainer.fast_dev_run", "true", "--model.compiled", "false"])


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("default")
def test_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run, table = script("run"), script("table")
    row = {"what": "β-VAE", "unit": "nats", "paper": 20.0, "figure": "log_evidence", "sign": -1, "shortened": "all"}
    rows = {"tiny": {**row, "test": ["--evidence.num_samples", 2], "seeds": [0, 1]}, "none": row}
    (tmp_path / "tiny.yaml").write_text(DIGITS)
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(rows, sort_keys=False))
    for module in (run, table):
        monkeypatch.setattr(module, "HERE", tmp_path)
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(run, "ROWS", rows)
    monkeypatch.setattr(run, "run", lambda *args: main([*args, "--trainer.enable_progress_bar=false"]) or {})
    monkeypatch.setattr(run, "commit", lambda: "abc1234")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["run.py", "tiny"])
    run.main()
    result = json.loads((tmp_path / "results" / "tiny.json").read_text())
    values = [r["figures"]["log_evidence"] for r in result["runs"]]
    assert [r["seed"] for r in result["runs"]] == [0, 1]
    assert values[0] != values[1]
    assert result["value"] == pytest.approx(sum(values) / 2)
    lines = table.table().splitlines()
    ours = f"{-result['value']:.2f} ± {result['std']:.2f} | {-result['value'] - 20:+.2f}"
    assert lines[2] == f"| β-VAE | nats | 20.00 | {ours} | `tiny` |"
    assert lines[3] == "| β-VAE | nats | 20.00 | not measured |  | `none` |"
    assert lines[-1].startswith("| `tiny` | 1 epochs; all | ")
    assert lines[-1].endswith("| fit abc1234; test abc1234 |")
    capsys.readouterr()
