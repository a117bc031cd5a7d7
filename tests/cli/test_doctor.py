"""``vae-zoo doctor``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import said
from helpers import quiet_trainer, tiny

from vae_zoo.checkpoints import files
from vae_zoo.data import Digits
from vae_zoo.models import VAE


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fit of three steps."""
    folder = tmp_path_factory.mktemp("fit")
    torch.manual_seed(0)
    trainer = quiet_trainer(folder, max_steps=3, max_epochs=-1)
    trainer.fit(tiny(VAE), Digits())
    trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt")
    return folder


def test_a_checkpoint(fitted: Path, run: Callable[..., Any]) -> None:
    """A model that has seen nothing, whose metrics rose to its end, in the folder of its fit."""
    rows = [f"{n},{n // 4},{-50 + 2 * n}" for n in range(12)] + ["13,9,0"]  # the last is of a later step
    (fitted / "metrics.csv").write_text("\n".join(["epoch,step,val/elbo", *rows, ""]))
    outcome = run("doctor", str(fitted), "--num", "100", "--json", "found.json")
    assert outcome.code == 0, outcome.err
    report = json.loads(Path("found.json").read_text())
    kinds = {finding["name"]: finding["severity"] for finding in report["findings"]}
    assert kinds["posterior_collapse"] == "fault"
    assert kinds["stopped_early"] == "warning"
    assert report["model"] == "VAE"
    lines = outcome.out.splitlines()
    first = [line.split()[0] for line in lines if not line.startswith(" ") and ": " in line][:-1]
    assert first == sorted(first, key=["fault", "warning", "fine"].index)
    assert any(line.strip().startswith("remedy: ") for line in lines)
    assert "faults, " in outcome.out


def test_other_examples(fitted: Path, run: Callable[..., Any], tmp_path: Path) -> None:
    import numpy as np

    np.save(tmp_path / "bytes.npy", np.full((30, 1, 8, 8), 200, np.float32))
    path = str(fitted / "checkpoints" / "last.ckpt")
    outcome = run("doctor", path, "--data", "Arrays", "--data.path", "bytes.npy")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("fault    examples_off_range: 100.0% of the values")
    outcome = run("doctor", path, "--data.batch_size=20", "--num", "40")
    assert outcome.code == 0, outcome.err
    assert "fine     examples_off_range" in outcome.out


def test_broken_weights_are_named_though_no_model_can_be_made(fitted: Path, run: Callable[..., Any]) -> None:
    content = torch.load(fitted / "checkpoints" / "last.ckpt", weights_only=True)
    content["state_dict"]["encoder.layers.1.weight"][0] = float("nan")
    files.write(content, "broken.ckpt")
    outcome = run("doctor", "broken.ckpt")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("fault    weights_not_finite: 1 of ")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (["--num", "3"], "--num must be at least 20, for errors to mean anything, got 3."),
        (["--seed", "-1"], "--seed must be at least 0"),
        (["--json", "found.txt"], "--json must end in .json, got found.txt."),
        (["--json", "nowhere/found.json"], "there is no folder nowhere to write found.json to."),
        (["--daat.x", "1"], "unknown option --daat.x, did you mean --data?"),
        (["--data.path"], "--data.path needs a value."),
        (["--data", "Sprites"], "--data: examples must be of shape (1, 8, 8), got (1, 64, 64)."),
    ],
)
def test_refuses(more: list[str], line: str, fitted: Path, run: Callable[..., Any]) -> None:
    assert line in said(run("doctor", str(fitted), *more))


def test_refuses_what_is_no_checkpoint(run: Callable[..., Any], tmp_path: Path) -> None:
    assert "there is nothing at nowhere" in said(run("doctor", "nowhere"))
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    assert "text.ckpt" in said(run("doctor", "text.ckpt"))
