"""Examples of the documentation are trained for real, and must give something worth looking at."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import torch

import vae_zoo
from vae_zoo.cli import main
from vae_zoo.data import Digits

ROOT = Path(__file__).parents[1]
FLOORS = {
    "vae-zoo fit --model BetaVAE --data Digits --model.beta 2 --trainer.max_epochs 20": (4.0, 0.45),  # 6.5 and .29
    "vae-zoo fit --model VAE --data Digits --trainer.max_epochs 20": (8.0, 0.35),  # 13.6 and .20; the page of VAE
}
"""Least rate in nats, and greatest squared error of reconstructions over that of the mean image, on the test split."""


def test_the_first_command_of_the_pages_is_among_them() -> None:
    for page in ("README.md", "docs/start.md"):
        lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
        assert next(line for line in lines if line.startswith("vae-zoo fit")) in FLOORS


@pytest.mark.slow
@pytest.mark.parametrize("command", FLOORS)
def test_a_shown_fit_gives_digits(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # set by the run, and put back by monkeypatch
    main([*shlex.split(command)[1:], "--trainer.enable_progress_bar=false"])
    (path,) = tmp_path.glob("results/*/fit_0/checkpoints/last.ckpt")
    model, data = vae_zoo.load(path).eval(), Digits()
    x, mean = data.examples("test"), data.examples("train").mean(0)
    with torch.no_grad():
        rate = float(model.elbo(x).kl.mean())
        error = float((model.reconstruct(x) - x).square().sum() / (mean - x).square().sum())
    least, greatest = FLOORS[command]
    assert rate >= least
    assert error <= greatest
