"""What a run leaves of its curves where it does not end well."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from fits import FIT, FOLDER, signal_at
from lightning.pytorch.loggers import CSVLogger

from vae_zoo.cli.loggers import loggers_of


def test_a_row_is_in_the_file_once_it_is_logged(tmp_path: Path) -> None:
    """A run that is killed ends without a word, and no logger is told."""
    logger = CSVLogger(**vars(loggers_of(None, str(tmp_path), fits=True)[0].init_args))
    logger.log_metrics({"train/loss": 3.0}, step=6)
    logger.log_metrics({"val/loss": 2.0}, step=6)
    rows = list(csv.DictReader((tmp_path / "metrics.csv").read_text().splitlines()))
    assert [(row["train/loss"], row["val/loss"]) for row in rows] == [("3.0", ""), ("", "2.0")]


def test_a_run_that_is_stopped(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    signal_at(monkeypatch, 5)
    assert run(*FIT, "--trainer.max_epochs=3", "--trainer.log_every_n_steps=1").code == 143
    rows = list(csv.DictReader((FOLDER.parent / "metrics.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [0, 1, 2, 3, 4]
