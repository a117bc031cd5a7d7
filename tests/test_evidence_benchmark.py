"""The benchmark of the evidence at a size too small to measure speed."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from vae_zoo.models import MLPVAE

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", list(sys.path))  # the script adds to it
    spec = importlib.util.spec_from_file_location("evidence", FOLDER / "evidence.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr("vae_zoo.elbo._compiled_log_px", lambda: sys.modules["vae_zoo.elbo"]._log_px)
    return module


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("default")  # those of pythae's imports
@pytest.mark.parametrize("installed", [True, False])
def test_contenders(
    benchmark: Any, installed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    if installed:
        pytest.importorskip("pythae")
    else:
        monkeypatch.setitem(sys.modules, "pythae.models", None)
    torch.manual_seed(0)
    model, x = MLPVAE(shape=(1, 28, 28), latent_dim=32).eval(), torch.rand(6, 1, 28, 28).round()
    rows = benchmark.compared(model, x, argparse.Namespace(num_samples=200, rounds=2))
    assert len(rows) == 4 + installed
    assert ("pythae is not installed" in capsys.readouterr().out) != installed
    assert next(iter(rows.values()))["ratio"] == [1, 1, 1]
    values = [row["log_evidence"][0] for row in rows.values()]
    assert max(values) - min(values) < 0.5  # nats, of about 550: the same weights, images and estimator
    found = benchmark.bias(model, x, 20)
    assert abs(found["difference"]) < 1
    same = benchmark.agreement(model, x[:3], 200)
    assert not installed or (same["images"] == 3 and same["largest"] < 1e-3)
    result = {
        "contenders": rows,
        "same_noise": same,
        "bf16": found,
        "peak_mib": {},
        "num_samples": 200,
        "rounds": 2,
        "hardware": "this",
    }
    (tmp_path / "evidence.json").write_text(json.dumps({**result, "versions": {}, "commit": "abc"}))
    text = benchmark.table(tmp_path / "evidence.json")
    assert all(f"| {name} | " in text for name in rows)
    assert "same noise, 6 images" in text


def test_peak(benchmark: Any) -> None:
    assert 0 < benchmark.peak("MLPVAE", 10) < 1024
