"""Logged metrics of runs that do not end normally."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from fits import FIT, FOLDER, SHORT, SMALL, said, signal_at
from jsonargparse import Namespace
from lightning.pytorch import Trainer

from vae_zoo.cli.run.default_loggers import loggers_of
from vae_zoo.loggers import MetricsFile


def logger_in(folder: Path) -> MetricsFile:
    chosen = loggers_of(None, str(folder), fits=True)[0]
    assert chosen.class_path == "vae_zoo.loggers.MetricsFile"
    return MetricsFile(**vars(chosen.init_args))


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_row_is_in_the_file_once_it_is_logged(tmp_path: Path) -> None:
    """A run that is killed ends without a word, and no logger is told."""
    logger = logger_in(tmp_path)
    logger.log_metrics({"train/loss": 3.0}, step=6)
    logger.log_metrics({"val/loss": 2.0}, step=6)
    rows = rows_of(tmp_path / "metrics.csv")
    assert [(row["train/loss"], row["val/loss"]) for row in rows] == [("3.0", ""), ("", "2.0")]


def test_a_new_column_never_leaves_less_than_there_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logger, before = logger_in(tmp_path), tmp_path / "metrics.csv"
    logger.log_metrics({"train/loss": 3.0}, step=6)
    text = before.read_text()

    def killed(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(csv.DictWriter, "writerows", killed)
    with pytest.raises(KeyboardInterrupt):
        logger.log_metrics({"val/loss": 2.0}, step=6)
    assert before.read_text() == text


def test_rows_of_the_run_before(tmp_path: Path) -> None:
    """What it has logged after it was saved is logged again, and what was half written is not read."""
    first = logger_in(tmp_path / "fit_0")
    for step in (1, 3, 5):
        first.log_metrics({"train/loss": float(step)}, step=step)
    first.log_metrics({"val/late": 1.0}, step=5)
    path = tmp_path / "fit_0" / "metrics.csv"
    path.write_text(path.read_text() + "1.0,9")
    second = logger_in(tmp_path / "fit_1")
    second.continue_from([tmp_path / "fit_0"], 4)
    there = tmp_path / "fit_1" / "metrics.csv"
    assert there.read_text() == "step,train/loss\n1,1.0\n3,3.0\n"
    second.log_metrics({"train/loss": 5.0}, step=5)
    assert [row["step"] for row in rows_of(there)] == ["1", "3", "5"]
    fresh = logger_in(tmp_path / "fit_1")  # a new run in a folder of its own choice
    fresh.log_metrics({"train/loss": 1.0}, step=1)
    assert len(rows_of(there)) == 1


def test_a_run_that_is_stopped(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    signal_at(monkeypatch, 5)
    assert run(*FIT, "--trainer.max_epochs=3", "--trainer.log_every_n_steps=1").code == 143
    rows = rows_of(FOLDER.parent / "metrics.csv")
    assert [int(row["step"]) for row in rows if row["train/loss"]] == [0, 1, 2, 3, 4]


@pytest.mark.exhaustive
def test_the_file_of_a_resumed_run_is_that_of_one_never_stopped(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row spans the stop, and rows that were logged after the checkpoint are there once."""
    args = [*FIT, "--trainer.max_epochs=4", "--trainer.log_every_n_steps=2", "--last.every_n_train_steps=3"]
    assert run(*args).code == 0
    whole = (FOLDER.parent / "metrics.csv").read_text()
    assert len(whole.splitlines()) == 1 + 6 + 4
    real = Trainer.save_checkpoint

    def dies(trainer: Trainer, path: Any, *rest: Any) -> None:
        if trainer.global_step == 12 and "last" in str(path):
            raise SystemExit(9)  # after its rows, before its checkpoint
        real(trainer, path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save_checkpoint", dies)
        assert run(*args).code == 9
    assert torch.load(FOLDER.parents[1] / "fit_1/checkpoints/last.ckpt", weights_only=True)["global_step"] == 9
    assert run(*args, "--ckpt_path=last").code == 0
    assert (FOLDER.parents[1] / "fit_2/metrics.csv").read_text() == whole


class TestMLflow:
    """With the real library, whose import takes a second: one fit."""

    @pytest.mark.exhaustive
    def test_everything_arrives(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("mlflow", reason="mlflow is not installed")
        from mlflow.tracking import MlflowClient
        from PIL import Image

        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database would need more of the library
        monkeypatch.setenv("PATH", "")  # where it would look for git
        store = "file:mlruns"
        options = ["--trainer.logger=MLFlowLogger", f"--trainer.logger.tracking_uri={store}", "--trainer.max_epochs=1"]
        fit = ["fit", "--model=BetaVAE", "--data=Digits", *SMALL, *SHORT]
        outcome = run(*fit, *options, "--trainer.log_every_n_steps=1")
        assert outcome.code == 0, outcome.err
        client = MlflowClient(store)
        (kept,) = client.search_runs([client.get_experiment_by_name("lightning_logs").experiment_id])
        assert kept.info.status == "FINISHED"
        assert kept.data.params["model/class_path"] == "vae_zoo.models.BetaVAE"
        assert kept.data.params["latent_dim"] == "2"
        assert {"train/loss", "val/elbo", "val/active_units"} <= set(kept.data.metrics)
        rows = list(csv.DictReader((FOLDER.parent / "metrics.csv").read_text().splitlines()))
        (elbo,) = [float(row["val/elbo"]) for row in rows if row["val/elbo"]]
        assert kept.data.metrics["val/elbo"] == pytest.approx(elbo)
        files = [file.path for file in client.list_artifacts(kept.info.run_id, "images")]
        pictures = [path for path in files if path.endswith(".png")]
        assert {Path(path).name.partition("+")[0] for path in pictures} == {"samples", "reconstructions", "traversals"}
        with Image.open(client.download_artifacts(kept.info.run_id, pictures[0])) as image:
            assert image.mode == "RGB"

    @pytest.mark.exhaustive
    def test_a_logger_that_cannot_start(self, run: Callable) -> None:
        """What its constructor says is the line, though a list of loggers fits no other type either."""
        pytest.importorskip("mlflow", reason="mlflow is not installed")
        line = said(run(*FIT, "--trainer.logger=MLFlowLogger", "--trainer.logger.tracking_uri=gopher://here"))
        assert "gopher://here" in line

    def test_its_own_default(self) -> None:
        def settled(uri: str | None) -> list[Any]:
            path, options = "lightning.pytorch.loggers.MLFlowLogger", Namespace(tracking_uri=uri)
            return loggers_of(Namespace(class_path=path, init_args=options), "f", fits=True)

        mine, files = settled(None)
        assert mine.init_args.tracking_uri == "sqlite:///mlflow.db"
        assert files.class_path == "vae_zoo.loggers.MetricsFile"
        assert settled("http://here:5000")[0].init_args.tracking_uri == "http://here:5000"


def test_loggers_that_write_files_are_left_alone() -> None:
    for given in (Namespace(class_path="lightning.pytorch.loggers.TensorBoardLogger"), False):
        assert loggers_of(given, "f", fits=True) is given
    both = [Namespace(class_path="mine.Logger"), Namespace(class_path="lightning.pytorch.loggers.CSVLogger")]
    assert loggers_of(both, "f", fits=True) is both
