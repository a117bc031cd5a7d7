"""File systems that fail during a fit: exit code 0 only with the requested checkpoint."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fits import FOLDER, TWO, good, said, signal_at
from short import few

from vae_zoo.checkpoints import files
from vae_zoo.cli.terminal import quiet


@pytest.fixture
def at_save(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[Path], None]], None]:
    """Let something happen before the save of so much; with the best and the last there are two an epoch."""

    def arrange(number: int, happen: Callable[[Path], None]) -> None:
        real, calls = files.write, []

        def write(checkpoint: dict[str, Any], path: str | Path) -> None:
            calls.append(path)
            if len(calls) == number:
                happen(Path(path))
            real(checkpoint, path)

        monkeypatch.setattr(files, "write", write)

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
        few(
            [
                (lambda: Path("x").write_text("taken"), "--last.dirpath=x", "File exists"),
                (lambda: Path("x").write_text("taken"), "--checkpoint.dirpath=x/y", "Not a directory"),
                (lambda: Path("x").symlink_to("x"), "--last.dirpath=x", "File exists"),
                (lambda: None, "--last.dirpath=/proc/checkpoints", "No such file or directory"),
                (lambda: None, "--last.dirpath=/sys/checkpoints", "Operation not permitted"),
                (lambda: None, f"--last.dirpath={'x' * 300}", "File name too long"),
            ],
            1,
        ),
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

    def test_the_disk_is_full(self, run: Callable, small_files: Callable[[int], None]) -> None:
        """No logger begins, whose thread would end in a traceback."""
        small_files(2000)
        outcome = run(*TWO)
        small_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        assert "cannot write checkpoints, File too large: results/BetaVAE_Digits/fit_0." in said(outcome)
        assert not Path("results").exists()

    @pytest.mark.parametrize("number", few([errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EDQUOT], 1))
    def test_the_disk(self, run: Callable, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        fails_with(monkeypatch, "fsync", number)
        assert f"cannot write checkpoints, {os.strerror(number)}: " in said(run(*TWO))
        assert not list(Path().rglob("*.ckpt"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_of_tensorboard_says_nothing_of_a_full_disk(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one who logs is given the error, and says it in a line."""
    from tensorboard.summary.writer.event_file_writer import _AsyncWriter

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    quiet()
    writer = _AsyncWriter(SimpleNamespace(write=fail, flush=fail, close=fail))
    with suppress(OSError):
        writer.write(b"x")
    writer._worker.join()
    other = threading.Thread(target=fail)
    other.start()
    other.join()
    assert capfd.readouterr().err.count("Traceback") == 1, "of the other thread alone"
    with pytest.raises(OSError, match="No space left"):
        writer.write(b"x")


class TestDuringTheRun:
    """The second epoch cannot be saved: the first still is."""

    def full(self, small_files: Callable[[int], None]) -> Callable[[Path], None]:
        return lambda _: small_files(30_000)

    def test_the_disk_is_full(self, run: Callable, at_save: Callable, small_files: Callable[[int], None]) -> None:
        at_save(3, self.full(small_files))
        outcome = run(*TWO)
        small_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])
        assert f"File too large: {FOLDER.resolve()}/0002.ckpt."[:90] in said(outcome)
        assert good(FOLDER / "last.ckpt") == 3
        assert sorted(path.name for path in FOLDER.iterdir()) == ["0001.ckpt", "last.ckpt"]

    @pytest.mark.parametrize("name", few(["fsync", "replace"], 1))
    def test_the_disk_breaks(
        self, run: Callable, at_save: Callable, monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        at_save(4, lambda _: fails_with(monkeypatch, name, errno.EIO))
        assert f"Input/output error: {FOLDER.resolve()}/last.ckpt."[:90] in said(run(*TWO))
        assert good(FOLDER / "last.ckpt") == 3

    @pytest.mark.exhaustive
    def test_the_folder_vanishes(self, run: Callable, at_save: Callable) -> None:
        at_save(4, lambda path: shutil.rmtree(path.parent))
        outcome = run(*TWO)
        assert outcome.code == 2  # the best one is gone with it
        assert "0002.ckpt is gone" in said(outcome)
        assert good(FOLDER / "last.ckpt") == 6

    @pytest.mark.exhaustive
    def test_a_file_takes_the_place_of_the_folder(self, run: Callable, at_save: Callable) -> None:
        def replace(path: Path) -> None:
            path.parent.rename("moved")
            path.parent.write_text("taken")

        at_save(4, replace)
        assert f"File exists: {FOLDER.resolve()}/last.ckpt."[:90] in said(run(*TWO))
        assert good(Path("moved/last.ckpt")) == 3

    @pytest.mark.exhaustive
    def test_a_folder_takes_the_place_of_the_file(self, run: Callable, at_save: Callable) -> None:
        def replace(path: Path) -> None:
            path.rename("moved.ckpt")
            path.mkdir()

        at_save(4, replace)
        assert f"Is a directory: {FOLDER.resolve()}/last.ckpt."[:90] in said(run(*TWO))
        assert good(Path("moved.ckpt")) == 3

    @pytest.mark.exhaustive
    def test_what_was_written_is_removed(self, run: Callable, at_save: Callable) -> None:
        at_save(4, lambda path: (path.parent / "0002.ckpt").unlink())
        assert "0002.ckpt is gone: something has removed it" in said(run(*TWO))

    @pytest.mark.exhaustive
    def test_a_stopped_run_that_cannot_save_does_not_say_that_it_has(
        self, run: Callable, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        signal_at(monkeypatch, 5)
        real = files.write
        calls: list[Any] = []

        def write(*args: Any) -> None:
            calls.append(args)
            if len(calls) == 3:
                fails_with(monkeypatch, "fsync", errno.ENOSPC)
            real(*args)

        monkeypatch.setattr(files, "write", write)
        assert f"No space left on device: {FOLDER.resolve()}/last.ckpt."[:90] in said(run(*TWO))
        assert good(FOLDER / "last.ckpt") == 3
