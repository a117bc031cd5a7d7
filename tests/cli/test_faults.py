"""A fit of the command that is stopped or breaks, or whose disk does: what it says and leaves, and how it goes on."""

from __future__ import annotations

import errno
import os
import resource
import shlex
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from vae_zoo import checkpoints, hub
from vae_zoo.cli import faults
from vae_zoo.models import BetaVAE

QUIET = ["--samples.every_n_epochs=0", "--reconstructions.every_n_epochs=0", "--traversals.every_n_epochs=0"]
SHORT = ["--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false"]
SMALL = ["--model.latent_dim=2", "--model.encoder.hidden=[16]", "--model.decoder.hidden=[16]"]
FIT = ["fit", "--model=BetaVAE", "--data=Digits", *SMALL, *SHORT, *QUIET]
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
    checkpoints.verify(path)
    return hub.read(path)["global_step"]


@pytest.fixture
def at_save(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[Path], None]], None]:
    """Let something happen before the save of so much; with the best and the last there are two an epoch."""

    def arrange(number: int, happen: Callable[[Path], None]) -> None:
        real, calls = checkpoints.write, []

        def write(checkpoint: dict[str, Any], path: str | Path) -> None:
            calls.append(path)
            if len(calls) == number:
                happen(Path(path))
            real(checkpoint, path)

        monkeypatch.setattr(checkpoints, "write", write)

    return arrange


@pytest.fixture
def small_files() -> Iterator[Callable[[int], None]]:
    """Make files that grow beyond a size fail, as those on a full disk do."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def fails_with(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)


class TestBeforeTheFirstStep:
    """Nothing can be written from the start: no step is taken."""

    @pytest.mark.parametrize(
        ("make", "option", "reason"),
        [
            (lambda: Path("x").write_text("taken"), "--last.dirpath=x", "File exists"),
            (lambda: Path("x").write_text("taken"), "--checkpoint.dirpath=x/y", "Not a directory"),
            (lambda: Path("x").symlink_to("x"), "--last.dirpath=x", "File exists"),
            (lambda: None, "--last.dirpath=/proc/checkpoints", "No such file or directory"),
            (lambda: None, "--last.dirpath=/sys/checkpoints", "Operation not permitted"),
            (lambda: None, f"--last.dirpath={'x' * 300}", "File name too long"),
        ],
        ids=["a file", "below a file", "a link to itself", "no such place", "forbidden", "too long a name"],
    )
    def test_the_folder(self, run: Callable, make: Callable[[], Any], option: str, reason: str) -> None:
        make()
        assert f"cannot write checkpoints, {reason}: " in said(run(*TWO, option))
        assert not list(Path().rglob("*.ckpt"))

    @pytest.mark.parametrize("make", [lambda p: p.write_text("taken"), lambda p: p.symlink_to("nowhere")])
    def test_the_folder_of_runs(self, run: Callable, make: Callable[[Path], Any]) -> None:
        make(Path("results"))
        assert "results" in said(run(*TWO))

    @pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT])
    def test_the_disk(self, run: Callable, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        fails_with(monkeypatch, "fsync", number)
        assert f"cannot write checkpoints, {os.strerror(number)}: " in said(run(*TWO))
        assert not list(Path().rglob("*.ckpt"))


class TestDuringTheRun:
    """The second epoch cannot be saved: the first still is."""

    def full(self, small_files: Callable[[int], None]) -> Callable[[Path], None]:
        return lambda _: small_files(30_000)

    def test_the_disk_is_full(self, run: Callable, at_save: Callable, small_files: Callable[[int], None]) -> None:
        at_save(3, self.full(small_files))
        outcome = run(*TWO)
        small_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        assert f"File too large: {FOLDER.resolve()}/0001.ckpt."[:90] in said(outcome)
        assert good(FOLDER / "last.ckpt") == 3
        assert sorted(path.name for path in FOLDER.iterdir()) == ["0000.ckpt", "last.ckpt"]

    @pytest.mark.parametrize("name", ["fsync", "replace"])
    def test_the_disk_breaks(
        self, run: Callable, at_save: Callable, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        at_save(4, lambda _: fails_with(monkeypatch, name, errno.EIO))
        assert f"Input/output error: {FOLDER.resolve()}/last.ckpt."[:90] in said(run(*TWO))
        assert good(FOLDER / "last.ckpt") == 3

    def test_the_folder_vanishes(self, run: Callable, at_save: Callable) -> None:
        at_save(4, lambda path: shutil.rmtree(path.parent))
        outcome = run(*TWO)
        assert outcome.code == 2  # the best one is gone with it
        assert "0001.ckpt is gone" in said(outcome)
        assert good(FOLDER / "last.ckpt") == 6

    def test_a_file_takes_the_place_of_the_folder(self, run: Callable, at_save: Callable) -> None:
        def replace(path: Path) -> None:
            path.parent.rename("moved")
            path.parent.write_text("taken")

        at_save(4, replace)
        assert f"File exists: {FOLDER.resolve()}/last.ckpt."[:90] in said(run(*TWO))
        assert good(Path("moved/last.ckpt")) == 3

    def test_a_folder_takes_the_place_of_the_file(self, run: Callable, at_save: Callable) -> None:
        def replace(path: Path) -> None:
            path.rename("moved.ckpt")
            path.mkdir()

        at_save(4, replace)
        assert f"Is a directory: {FOLDER.resolve()}/last.ckpt."[:90] in said(run(*TWO))
        assert good(Path("moved.ckpt")) == 3

    def test_what_was_written_is_removed(self, run: Callable, at_save: Callable) -> None:
        at_save(4, lambda path: (path.parent / "0001.ckpt").unlink())
        assert "0001.ckpt is gone: something has removed it" in said(run(*TWO))

    def test_a_stopped_run_that_cannot_save_does_not_say_that_it_has(
        self, run: Callable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        signal_at(monkeypatch, 5)
        real = checkpoints.write
        calls: list[Any] = []

        def write(*args: Any) -> None:
            calls.append(args)
            if len(calls) == 3:
                fails_with(monkeypatch, "fsync", errno.ENOSPC)
            real(*args)

        monkeypatch.setattr(checkpoints, "write", write)
        assert f"No space left on device: {FOLDER.resolve()}/last.ckpt."[:90] in said(run(*TWO))
        assert good(FOLDER / "last.ckpt") == 3


def signal_at(monkeypatch: pytest.MonkeyPatch, call: int, signum: int = signal.SIGTERM) -> None:
    """Send a signal within the training step of that number."""
    real, calls = BetaVAE.training_step, []

    def training_step(self: BetaVAE, *args: Any) -> Any:
        calls.append(args)
        if len(calls) == call:
            signal.raise_signal(signum)
        return real(self, *args)

    monkeypatch.setattr(BetaVAE, "training_step", training_step)


class TestSignals:
    @pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
    def test_the_command_it_names_goes_on_as_if_nothing_had_happened(
        self, run: Callable, monkeypatch: pytest.MonkeyPatch, signum: int, code: int
    ) -> None:
        assert run(*TWO).code == 0
        signal_at(monkeypatch, 5, signum)
        outcome = run(*TWO)
        assert outcome.code == code
        (line,) = outcome.err.strip().splitlines()
        start = f"stopped by {signal.Signals(signum).name} after step 5: "
        assert line.startswith(f"{start}vae-zoo fit --config results/BetaVAE_Digits/fit_1/config.yaml --ckpt_path ")
        assert run(*shlex.split(line.removeprefix(start))[1:]).code == 0
        whole, resumed = (
            hub.read(f"results/BetaVAE_Digits/fit_{n}/checkpoints/last.ckpt")["state_dict"] for n in (0, 2)
        )
        assert all(torch.equal(whole[name], resumed[name]) for name in whole)

    def test_before_the_fit(self, run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
        def hurry(*_: Any) -> None:
            signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr("vae_zoo.data.Digits.prepare_data", hurry)
        assert run(*TWO).code == 130
        monkeypatch.setattr("vae_zoo.cli.lightning_verbs.refuse", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run(*TWO).code == 130
        assert not Path("results").exists()


class TestLast:
    @pytest.fixture
    def folder(self, run: Callable) -> Path:
        assert run(*TWO).code == 0
        assert (FOLDER / "0001.ckpt").exists()
        return FOLDER

    def test_the_newest_good_one_takes_the_place_of_a_damaged_one(self, run: Callable, folder: Path) -> None:
        os.truncate(folder / "last.ckpt", 5000)
        outcome = run(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last")
        assert outcome.code == 0
        warning = outcome.err.strip().splitlines()[0]
        assert warning == f"warning: {folder}/last.ckpt is torn: its end is missing; going on from 0001.ckpt beside it"
        assert good(Path("results/BetaVAE_Digits/fit_1/checkpoints/last.ckpt")) == 9

    def test_there_is_no_good_one(self, run: Callable, folder: Path) -> None:
        for path in folder.iterdir():
            os.truncate(path, 5000)
        line = said(run(*FIT, "--trainer.max_epochs=3", "--ckpt_path=last"))
        assert "nothing to resume:" in line
        assert "there is no good one beside it" in line

    @pytest.mark.parametrize(
        ("content", "reason"), [(b"", "it is empty"), (b"PK\3\4 torn", "is torn"), (b"hello", "torch.save has not")]
    )
    @pytest.mark.parametrize("verb", ["fit", "test", "predict", "validate"])
    def test_a_bad_file_is_one_line(self, run: Callable, verb: str, content: bytes, reason: str) -> None:
        Path("bad.ckpt").write_bytes(content)
        line = said(run(verb, "--ckpt_path=bad.ckpt"))
        assert "bad.ckpt" in line
        assert reason in line

    def test_a_folder_of_the_users_own(self, run: Callable) -> None:
        own = ["--last.dirpath=own", "--checkpoint.dirpath=own"]
        assert run(*TWO, *own).code == 0
        assert "own/last.ckpt is of another run" in said(run(*TWO, *own))
        assert run(*FIT, *own, "--trainer.max_epochs=3", "--ckpt_path=last").code == 0
        assert good(Path("own/last.ckpt")) == 9


class TestLimits:
    @pytest.mark.parametrize(
        ("options", "steps"),
        [
            (["--trainer.max_steps=4"], 4),
            (["--config=epochs.yaml", "--trainer.max_steps=4"], 4),
            (["--config=steps.yaml", "--trainer.max_epochs=2"], 6),
            (["--config=steps.yaml"], 5),
            (["--trainer.max_steps=4", "--trainer.max_epochs=-1"], 4),
        ],
        ids=str,
    )
    def test_one_is_given(self, run: Callable, options: list[str], steps: int) -> None:
        Path("epochs.yaml").write_text("trainer: {max_epochs: 1}")
        Path("steps.yaml").write_text("trainer: {max_steps: 5}")
        assert run(*FIT, *options, "--last.every_n_train_steps=1").code == 0
        saved = hub.read(FOLDER / "last.ckpt")
        assert saved["global_step"] in (steps, steps - steps % 3)

    @pytest.mark.parametrize("options", [["--trainer.max_steps=4", "--trainer.max_epochs=1"], ["--config=both.yaml"]])
    def test_both_are_refused(self, run: Callable, options: list[str]) -> None:
        Path("both.yaml").write_text("trainer: {max_epochs: 1, max_steps: 4}")
        line = said(run(*FIT, *options))
        assert "give trainer.max_steps or trainer.max_epochs, not both, got 4 and 1." in line
        assert not Path("results").exists()

    @pytest.mark.parametrize(("steps", "time", "epochs"), [(-1, None, 50), (9, None, -1), (-1, "00:00:01:00", -1)])
    def test_the_default(self, steps: int, time: str | None, epochs: int) -> None:
        from jsonargparse import Namespace

        trainer = Namespace(max_steps=steps, max_epochs=None, max_time=time)
        faults.set_limits(trainer, [])
        assert trainer.max_epochs == epochs


def test_a_loss_that_is_no_number_is_one_line(run: Callable) -> None:
    broken = ["--model.optimizer=SGD", "--model.optimizer.lr=1e30"]
    line = said(run(*TWO, *broken))
    assert "the loss is not finite at step 2: " in line
    assert "last good checkpoint: none" in line
    assert not list(Path().rglob("*.ckpt"))
    with pytest.warns(UserWarning, match="Step 2 is skipped"):
        assert run(*TWO, *broken, "--nan.skip=true").code == 0
    (path,) = Path().rglob("*.ckpt")  # and no best one
    assert path.name == "last.ckpt"
    assert all(torch.isfinite(x).all() for x in hub.read(path)["state_dict"].values())
