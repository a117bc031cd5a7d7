"""The last checkpoint: where it is written, by which process, and what a signal does."""

from __future__ import annotations

import os
import re
import signal
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import fit
from lightning.pytorch import Callback
from short import few
from torch.optim.lr_scheduler import ReduceLROnPlateau

from vae_zoo.callbacks import BestCheckpoint, LastCheckpoint
from vae_zoo.callbacks.checkpointing.stopping import Listener, Stopped
from vae_zoo.checkpoints.files import CheckpointWriteError
from vae_zoo.system.locks import FolderLock


class SignalAt(Callback):
    """Sends a signal in a hook, the first time that it is reached at the step given."""

    def __init__(self, hook: str, step: int, signum: int = signal.SIGTERM, times: int = 1) -> None:
        self.left = times

        def send(trainer: Any, *_: Any) -> None:
            for _ in range(self.left if trainer.global_step == step else 0):
                self.left -= 1
                signal.raise_signal(signum)

        setattr(self, hook, send)


def last(folder: Path, **kwargs: Any) -> LastCheckpoint:
    return LastCheckpoint(dirpath=folder / "saved", **kwargs)


def stop(folder: Path, *callbacks: Any, **kwargs: Any) -> Any:
    """The end of a fit that a signal stops, and the step of the checkpoint that it leaves."""
    with pytest.raises(Stopped) as stopped:
        fit(folder, callbacks=[*callbacks], enable_checkpointing=True, **{"max_epochs": 3, **kwargs})
    return stopped.value.code, step(folder)


def step(folder: Path) -> int:
    return torch.load(folder / "saved" / "last.ckpt", weights_only=True)["global_step"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_loses_no_step(tmp_path: Path, signum: int, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signum)
    assert stop(tmp_path, SignalAt("on_before_backward", 6, signum), last(tmp_path)) == (code, 7)
    name = signal.Signals(signum).name
    path = tmp_path / "saved" / "last.ckpt"
    assert f'stopped by {name} after step 7: resume by ckpt_path="{path}"\n' in capfd.readouterr().err
    assert not (tmp_path / "saved" / ".lock").exists()
    again = signal.getsignal(signum)
    assert again == before or isinstance(again.__self__, Listener)  # Lightning puts the latter back, which hands on


@pytest.mark.parametrize(
    ("hook", "at", "saved"),
    few(
        [
            ("on_sanity_check_start", 0, 1),
            ("on_train_start", 0, 1),
            ("on_train_batch_start", 4, 5),  # the last batch of an epoch: at its end
            ("on_validation_batch_start", 5, 5),
            ("on_train_epoch_end", 10, 10),
            ("on_train_end", 15, 15),
        ],
        2,
    ),
)
def test_a_signal_at_any_time(tmp_path: Path, hook: str, at: int, saved: int) -> None:
    sanity = 1 if "sanity" in hook else 0
    callbacks = [SignalAt(hook, at), last(tmp_path)]
    assert stop(tmp_path, *callbacks, num_sanity_val_steps=sanity) == (143, saved)


def test_a_signal_to_lightning_before_ours_is_not_lost(tmp_path: Path) -> None:
    class Early(Callback):
        def on_fit_start(self, trainer: Any, *_: Any) -> None:
            trainer._signal_connector.register_signal_handlers = lambda: None
            trainer._signal_connector.received_sigterm = True

    assert stop(tmp_path, Early(), last(tmp_path)) == (143, 1)


def test_without_a_last_checkpoint_nothing_is_saved(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    callbacks = [SignalAt("on_train_batch_start", 2), last(tmp_path, save_top_k=0)]
    with pytest.raises(Stopped):
        fit(tmp_path, callbacks=callbacks, enable_checkpointing=True)
    assert not list((tmp_path / "saved").glob("*"))
    assert "stopped by SIGTERM after step 3: no checkpoint was asked for" in capfd.readouterr().err


@pytest.mark.parametrize("signum", few([signal.SIGTERM, signal.SIGINT], 1))
def test_a_second_signal_ends_at_once(tmp_path: Path, signum: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            callbacks = [SignalAt("on_train_batch_start", 2, signum, times=2), last(tmp_path)]
            fit(tmp_path, callbacks=callbacks, enable_checkpointing=True)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signum
    assert not (tmp_path / "saved" / "last.ckpt").exists()


def test_a_finished_fit_leaves_signals_alone(tmp_path: Path) -> None:
    before = [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)]
    fit(tmp_path, callbacks=[last(tmp_path)], enable_checkpointing=True)
    assert [signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)] == before


class TestWhere:
    def steps(self, folder: Path, **kwargs: Any) -> list[int]:
        found = []

        class Watch(LastCheckpoint):
            def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
                super()._save_checkpoint(trainer, filepath)
                found.append(trainer.global_step)

        options = {name: kwargs.pop(name) for name in (*kwargs,) if "_n_" in name or "_time_" in name}
        callback = Watch(dirpath=folder / "saved", **options)
        fit(folder, callbacks=[callback], enable_checkpointing=True, **kwargs)
        return found

    @pytest.mark.exhaustive
    def test_after_some_time(self, tmp_path: Path) -> None:
        assert self.steps(tmp_path, train_time_interval=timedelta(0)) == [*range(1, 11)]
        assert self.steps(tmp_path / "never", train_time_interval=timedelta(days=1)) == [5, 10]

    @pytest.mark.exhaustive
    def test_at_the_end_of_epochs(self, tmp_path: Path) -> None:
        assert self.steps(tmp_path) == [5, 10]
        assert self.steps(tmp_path / "other", every_n_epochs=2, max_epochs=4) == [10, 20]

    def test_within_an_epoch_only_where_a_resume_is_exact(self, tmp_path: Path) -> None:
        assert self.steps(tmp_path, every_n_train_steps=2) == [2, 4, 5, 6, 8, 10]
        assert self.steps(tmp_path / "a", every_n_train_steps=5) == [5, 10]
        assert self.steps(tmp_path / "b", every_n_train_steps=2, val_check_interval=2) == [3, 5, 6, 8, 10]
        assert self.steps(tmp_path / "c", every_n_train_steps=1, accumulate_grad_batches=2) == [1, 2, 3, 4, 5, 6]


@pytest.mark.exhaustive
def test_a_scheduler_that_watches_is_told_what_it_missed(tmp_path: Path) -> None:
    """Lightning saves before it, and tells it nothing in an epoch that is resumed."""
    kwargs = {"scheduler": partial(ReduceLROnPlateau, patience=0, threshold=1e9, factor=0.5)}
    fit(tmp_path, kwargs=kwargs, callbacks=[last(tmp_path)], enable_checkpointing=True, max_epochs=2)
    saved = torch.load(tmp_path / "saved" / "last.ckpt", weights_only=True)
    assert list(saved["pending"]) == ["val/loss"]
    rates = []
    for epochs in (4, 6):
        _, trainer = fit(
            tmp_path,
            kwargs=kwargs,
            callbacks=[last(tmp_path)],
            enable_checkpointing=True,
            max_epochs=epochs,
            ckpt_path=tmp_path / "saved" / "last.ckpt",
        )
        rates.append(trainer.optimizers[0].param_groups[0]["lr"])
    assert rates == pytest.approx([1e-3 / 2**4, 1e-3 / 2**6])


class TestFolders:
    def test_a_figure_in_the_name_is_no_folder(self, tmp_path: Path) -> None:
        best = BestCheckpoint(dirpath=tmp_path / "saved", monitor="val/loss", filename="{epoch:02d}_{val/loss:.0f}")
        fit(tmp_path, callbacks=[best], enable_checkpointing=True, max_epochs=1)
        (path,) = (tmp_path / "saved").iterdir()
        assert re.fullmatch(r"01_\d+\.ckpt", path.name)

    def test_the_checkpoint_of_another_run_is_kept(self, tmp_path: Path) -> None:
        fit(tmp_path, callbacks=[last(tmp_path)], enable_checkpointing=True)
        path = tmp_path / "saved" / "last.ckpt"
        before = path.read_bytes()
        with pytest.raises(ValueError, match=r"last.ckpt is of another run: resume it by --ckpt_path, or give"):
            fit(tmp_path, callbacks=[last(tmp_path)], enable_checkpointing=True)
        assert path.read_bytes() == before
        fit(tmp_path, callbacks=[last(tmp_path)], enable_checkpointing=True, max_epochs=3, ckpt_path=path)
        assert step(tmp_path) == 15
        fit(tmp_path, callbacks=[last(tmp_path, enable_version_counter=True)], enable_checkpointing=True)
        assert (tmp_path / "saved" / "last-v1.ckpt").exists()

    @pytest.mark.exhaustive
    def test_a_callback_may_write_over_its_own(self, tmp_path: Path) -> None:
        callback = last(tmp_path)
        for epochs in (1, 2):
            fit(tmp_path, callbacks=[callback], enable_checkpointing=True, max_epochs=epochs)
        assert step(tmp_path) == 10

    def test_a_folder_in_use(self, tmp_path: Path) -> None:
        (tmp_path / "saved").mkdir()
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            lock = FolderLock(tmp_path / "saved")
            os.write(write, b"1")
            signal.pause()
            del lock
        os.close(write)
        os.read(read, 1)
        try:
            with pytest.raises(ValueError, match=f"is in use by process {child} on"):
                fit(tmp_path, callbacks=[last(tmp_path)], enable_checkpointing=True)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        fit(tmp_path, callbacks=[last(tmp_path)], enable_checkpointing=True)  # a dead run holds nothing

    def test_a_folder_that_cannot_be_written_to_is_found_before_the_first_step(self, tmp_path: Path) -> None:
        (tmp_path / "saved").write_text("a file")
        for cls in (BestCheckpoint, LastCheckpoint):
            with pytest.raises(CheckpointWriteError, match=r"cannot write checkpoints, .*saved"):
                fit(tmp_path, callbacks=[cls(dirpath=tmp_path / "saved")], enable_checkpointing=True)
