"""Weights of an encoder that are not where the command line says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def test_by_the_command(run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    args = [
        "--model",
        "VAE",
        "--data",
        "Digits",
        "--model.encoder",
        "BackboneEncoder",
        "--trainer.fast_dev_run",
        "true",
    ]
    outcome = run("fit", *args, "--model.encoder.weights", "no.pth")
    assert outcome.code == 2
    assert outcome.err == "vae-zoo: error: there is no file of weights no.pth: give its path, or DEFAULT.\n"
