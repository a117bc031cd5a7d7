"""Short fits of the command that several tests break."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from vae_zoo import hub
from vae_zoo.checkpoints import files
from vae_zoo.models import BetaVAE

QUIET = ["--samples.every_n_epochs=0", "--reconstructions.every_n_epochs=0", "--traversals.every_n_epochs=0"]
SHORT = ["--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false"]
SMALL = ["--model.latent_dim=2", "--model.encoder.hidden=[16]", "--model.decoder.hidden=[16]"]
FIT = ["fit", "--model=BetaVAE", "--data=Digits", "--model.likelihood=Bernoulli", *SMALL, *SHORT, *QUIET]
TWO = [*FIT, "--trainer.max_epochs=2"]
FOLDER = Path("results/BetaVAE_Digits/fit_0/checkpoints")


def said(outcome: Any, code: int = 2) -> str:
    """The one line of an error."""
    assert outcome.code == code, outcome
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1, outcome.err
    assert len(lines[0]) <= 200
    return lines[0]


def good(path: Path) -> int:
    files.verify(path)
    return hub.read(path)["global_step"]


def signal_at(monkeypatch: pytest.MonkeyPatch, call: int, signum: int = signal.SIGTERM) -> None:
    """Send a signal within the training step of that number."""
    real, calls = BetaVAE.training_step, []

    def training_step(self: BetaVAE, *args: Any) -> Any:
        calls.append(args)
        if len(calls) == call:
            signal.raise_signal(signum)
        return real(self, *args)

    monkeypatch.setattr(BetaVAE, "training_step", training_step)
