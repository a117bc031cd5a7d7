"""Full and missing disks: one line that names the file, and no partial file."""

from __future__ import annotations

import errno
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import tiny, tiny_data

from vae_zoo.callbacks.pictures import drawing
from vae_zoo.callbacks.pictures.themes import Look
from vae_zoo.cli.commands import sweep_table
from vae_zoo.cli.sweeps import plots
from vae_zoo.data import write_shards
from vae_zoo.export import export
from vae_zoo.hub import save_pretrained
from vae_zoo.models import VAE, ConvVAE
from vae_zoo.system import signals
from vae_zoo.system.writing import WriteError, replacing, replacing_folder, write_npz, write_text

ROOM = "make room on its disk, or choose another folder"


@pytest.fixture
def full() -> Iterator[Callable[[int], None]]:
    """Make files that grow beyond a size fail, as those on a full disk do."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def safetensors(path: Path) -> None:
    pytest.importorskip("safetensors", reason="the extra hub is not installed")
    save_pretrained(tiny(ConvVAE), path)


def exported(path: Path) -> None:
    small = torch.export.export(torch.nn.Linear(64, 64), (torch.zeros(1, 64),))  # in place of a model, for its time
    with mock.patch("vae_zoo.export.formats.program", return_value=small):
        export(tiny(ConvVAE), path, "torch-export")


def table(path: Path) -> None:
    rows = [sweep_table.Row("r" * 9000, {"a": n}, float(n)) for n in range(2)]
    path.mkdir()
    sweep_table.report(path, rows, "val/elbo", maximize=True)


def shards(path: Path) -> None:
    pytest.importorskip("litdata", reason="the extra stream is not installed")
    write_shards(tiny_data(), str(path), splits=("train",))


def parallel_picture(path: Path) -> None:
    plots.draw(path, [{"a": 1}, {"a": 2}], [1.0, 2.0], "m")


WRITERS = {
    "a.npz": lambda path: write_npz(path, {"x": (np.float32, (9000,), [np.zeros(9000)])}),
    "a.png": lambda path: drawing.save_png(torch.rand(3, 99, 99), path),
    "b.png": parallel_picture,
    "a.svg": lambda path: drawing.picture(torch.rand(9, 3, 99, 99), 3, None, Look(format="svg")).save(path),
    "a.json": lambda path: write_text(path, "x" * 9000),
    "safetensors": safetensors,
    "torch": exported,
    "table": table,
    "shards": shards,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk(tmp_path: Path, full: Callable[[int], None], name: str) -> None:
    path = tmp_path / name
    full(4096)
    with pytest.raises(WriteError, match=rf"^cannot write {re.escape(str(path))}\S*(, File too large)?: {ROOM}\.$"):
        WRITERS[name](path)
    assert not [file for file in tmp_path.rglob("*") if not file.is_dir()], "nothing is left"
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("name", ["a.npz", "a.png", "a.json", "safetensors"])
def test_what_was_there_is_kept(tmp_path: Path, full: Callable[[int], None], name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    full(4096)
    with pytest.raises(WriteError):
        WRITERS[name](path)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()

    def write() -> None:
        with replacing(tmp_path / "d" / "a.txt") as part:
            shutil.rmtree(tmp_path / "d")
            part.write_text("a")

    with pytest.raises(WriteError, match=r"a\.txt, No such file or directory: make its folder anew, or choose another"):
        write()


def test_errors_about_something_else_pass(tmp_path: Path) -> None:
    for error in (ValueError("wrong"), FileNotFoundError(errno.ENOENT, "gone", "/another/file"), KeyError("k")):
        with pytest.raises(type(error)) as caught, replacing(tmp_path / "a.txt"):
            raise error
        assert caught.value is error
    assert not list(tmp_path.iterdir())


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named: list[bool] = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda at: named.append((tmp_path / "a.txt").exists()) or real(at))
    write_text(tmp_path / "a.txt", "a")
    assert named == [False, True], "the file, then the folder"


def exit_code(function: Callable[[], None]) -> Any:
    with pytest.raises(SystemExit) as stop:
        function()
    return stop.value.code


class TestSignals:
    def test_a_folder_gets_all_its_files_or_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A signal between two of them waits for the second."""
        real = Path.replace

        def replace(self: Path, target: Any) -> Any:
            signal.raise_signal(signal.SIGTERM)
            return real(self, target)

        (tmp_path / "d").mkdir()
        for name in "ab":
            write_text(tmp_path / "d" / f"{name}.txt", "old")
        monkeypatch.setattr(Path, "replace", replace)
        monkeypatch.setattr(os, "_exit", lambda code: None)

        def write() -> None:
            with signals.exit_on_signals(), replacing_folder(tmp_path / "d") as part:
                for name in "ab":
                    (part / f"{name}.txt").write_text("new")

        assert exit_code(write) == 143
        assert {path.name: path.read_text() for path in (tmp_path / "d").iterdir()} == {"a.txt": "new", "b.txt": "new"}
        assert [path.name for path in tmp_path.iterdir()] == ["d"]

    def test_nothing_is_written_after_a_signal_that_a_library_has_swallowed(self, tmp_path: Path) -> None:
        def write() -> None:
            with signals.exit_on_signals(), replacing_folder(tmp_path / "d") as part:
                (part / "a.txt").write_text("a")
                with suppress(BaseException):
                    signal.raise_signal(signal.SIGINT)

        assert exit_code(write) == 130
        assert not list(tmp_path.iterdir())

    def test_an_error_that_a_library_makes_of_a_signal(self) -> None:
        def load() -> None:
            with signals.exit_on_signals():
                try:
                    signal.raise_signal(signal.SIGINT)
                except SystemExit:
                    raise ImportError("numpy could not be imported") from None

        assert exit_code(load) == 130

    def test_handlers_are_put_back_and_one_that_ignores_is_left(self) -> None:
        before = signal.getsignal(signal.SIGINT), signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            with signals.exit_on_signals():
                signal.raise_signal(signal.SIGTERM)
            assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == (before[0], signal.SIG_IGN)
        finally:
            signal.signal(signal.SIGTERM, before[1])


def test_a_picture_that_no_memory_holds_is_refused() -> None:
    drawing.check_size("samples.num", 64, (3, 1024, 1024))
    with pytest.raises(ValueError, match=r"samples\.num 65: a picture holds at most 64 images of 1024 by 1024\."):
        drawing.check_size("samples.num", 65, (3, 1024, 1024))


def test_samples_of_a_picture_are_drawn_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = tiny(VAE), []
    monkeypatch.setattr(model, "sample", lambda num, c=None: seen.append(num) or torch.zeros(num, 1, 8, 8))
    images, columns = drawing.samples(model, 600)
    assert (len(images), columns, seen) == (600, 24, [256, 256, 88])
