"""Checkpoint files are complete or absent, and a changed file is refused."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import quiet_trainer, tiny, tiny_data

import vae_zoo
from vae_zoo import hub
from vae_zoo.checkpoints import files
from vae_zoo.checkpoints.files import CheckpointFiles, CheckpointWriteError, DamagedCheckpointError, verify, write
from vae_zoo.system.locks import FolderLock

CONTENT = {"state_dict": {"a": torch.arange(3000.0), "b": torch.ones(2, 2)}, "place": {"epoch": 3}}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Child:
    """A forked process, which ends with this one if not before."""

    def __init__(self, run: Callable[[Callable[[], None]], None]) -> None:
        (self._read, ready), (go, self._write) = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._write)
            self._read, self._write = go, ready
            try:
                run(self.pause)
            finally:
                os._exit(0)
        os.close(go)
        os.close(ready)

    def pause(self) -> None:
        """In the child: say that it is there, and wait for the end."""
        os.write(self._write, b"1")
        os.read(self._read, 1)

    def wait(self) -> None:
        assert os.read(self._read, 1) == b"1"

    def end(self) -> int:
        os.close(self._write)
        return os.waitpid(self.pid, 0)[1]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "last.ckpt"
    write(CONTENT, path)
    return path


class TestWrite:
    def test_torch_reads_it(self, path: Path) -> None:
        verify(path)
        for mmap in (True, False):
            read = torch.load(path, weights_only=True, mmap=mmap)
            assert torch.equal(read["state_dict"]["a"], CONTENT["state_dict"]["a"])
            assert read["place"] == {"epoch": 3}
        assert names(path.parent) == ["last.ckpt"]

    def test_it_is_on_the_disk_before_it_has_its_name(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        done = []
        for name in ("fsync", "replace"):
            real = getattr(os, name)
            monkeypatch.setattr(os, name, lambda *args, name=name, real=real: (done.append(name), real(*args)))
        monkeypatch.setenv("TMPDIR", "/nowhere")
        write(CONTENT, path)
        assert done == ["fsync", "replace", "fsync"]

    def test_a_failure_keeps_the_old_file(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        before = path.read_bytes()

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(
            CheckpointWriteError, match=r"cannot write checkpoints, No space left on device: .*last.ckpt\."
        ):
            write({"state_dict": {}}, path)
        assert path.read_bytes() == before
        assert names(path.parent) == ["last.ckpt"]

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
    def test_the_cause_is_the_disk_and_not_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with open("/dev/full", "wb", buffering=0) as file:
            summed = files._Summed(file)
            with pytest.raises(Exception):  # noqa: B017, PT011  # torch may have words of its own
                torch.save(CONTENT, summed)
            assert summed.error is not None
            assert summed.error.errno == errno.ENOSPC

    def test_orphans_of_dead_processes_are_removed(self, path: Path) -> None:
        (path.parent / ".last.ckpt.0123.tmp").write_bytes(b"half")
        (path.parent / "notes.tmp").write_bytes(b"the user's own")

        def die_within_a_save(pause: Callable[[], None]) -> None:
            with files._replacing(path) as file:
                file.write(b"half")
                file.flush()
                os._exit(0)

        child = Child(die_within_a_save)
        child.end()
        assert len(names(path.parent)) == 3  # one orphan has removed the other
        write(CONTENT, path)
        assert names(path.parent) == ["last.ckpt", "notes.tmp"]

    def test_what_another_process_is_writing_is_left(self, path: Path) -> None:
        def write_slowly(pause: Callable[[], None]) -> None:
            with files._replacing(path.with_name("other.ckpt")) as file:
                file.write(path.read_bytes())
                pause()

        child = Child(write_slowly)
        child.wait()
        write(CONTENT, path)
        assert child.end() == 0
        assert names(path.parent) == ["last.ckpt", "other.ckpt"]


class TestVerify:
    @pytest.mark.parametrize("summed", [True, False], ids=["ours", "of torch alone"])
    def test_every_changed_bit_and_cut_is_seen(self, tmp_path: Path, summed: bool) -> None:
        whole, path = tmp_path / "whole.ckpt", tmp_path / "last.ckpt"
        (write if summed else torch.save)(CONTENT, whole)
        raw, rng = whole.read_bytes(), random.Random(1)
        for number in range(400):
            changed = bytearray(raw)
            bit = rng.randrange(8 * len(raw)) if number else 8 * (len(raw) - 1)
            changed[bit // 8] ^= 1 << bit % 8
            path.write_bytes(changed)
            refused_or_the_same(path)
        for number in range(20):
            path.write_bytes(raw[: rng.randrange(len(raw)) if number else len(raw) - 1])
            with pytest.raises(DamagedCheckpointError):
                verify(path)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda raw: b"", "is no checkpoint: it is empty"),
            (lambda raw: b"hello", "is no checkpoint: torch.save has not written it"),
            (lambda raw: raw[:5000], "is torn: its end is missing"),
            (lambda raw: raw[:-3], "is torn: its end is missing"),
            (lambda raw: raw[:2000] + b"\1" + raw[2001:], "is damaged: its checksum does not fit"),
        ],
        ids=["empty", "foreign", "torn", "without its checksum", "damaged"],
    )
    def test_what_is_wrong_is_said(self, path: Path, change: Callable[[bytes], bytes], said: str) -> None:
        path.write_bytes(change(path.read_bytes()))
        for read in (verify, hub.read, vae_zoo.load, CheckpointFiles().load_checkpoint):
            with pytest.raises(DamagedCheckpointError, match=said):
                read(path)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match="no checkpoint at"):
            verify(tmp_path / "nothing.ckpt")

    def test_what_executes_is_never_loaded(self, tmp_path: Path) -> None:
        class Payload:
            def __reduce__(self) -> Any:
                return os.system, ("true",)

        torch.save({"vae_zoo": {}, "x": Payload()}, tmp_path / "bad.ckpt")
        for asked in (None, True, False):
            with pytest.raises(Exception, match="Weights only load failed"):
                CheckpointFiles().load_checkpoint(tmp_path / "bad.ckpt", weights_only=asked)


def refused_or_the_same(path: Path) -> None:
    try:
        read = CheckpointFiles().load_checkpoint(path)
    except DamagedCheckpointError:
        return
    assert read["place"] == CONTENT["place"]
    for name, tensor in CONTENT["state_dict"].items():
        assert torch.equal(read["state_dict"][name], tensor)


class TestTrainer:
    def test_a_trainer_writes_and_reads_by_it(self, tmp_path: Path) -> None:
        trainer = quiet_trainer(tmp_path, plugins=[CheckpointFiles()])
        trainer.fit(tiny(), tiny_data())
        path = tmp_path / "some.ckpt"
        trainer.save_checkpoint(path)
        assert path.read_bytes()[-22:].startswith(b"vae_zoo crc32 ")
        assert hub.read(path)["global_step"] == 5
        shutil.copy(path, tmp_path / "torn.ckpt")
        os.truncate(tmp_path / "torn.ckpt", 4000)
        with pytest.raises(DamagedCheckpointError, match="torn"):
            quiet_trainer(tmp_path, plugins=[CheckpointFiles()]).test(
                tiny(), tiny_data(), ckpt_path=tmp_path / "torn.ckpt"
            )

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_weights_that_are_no_numbers_are_never_written(self, tmp_path: Path, value: float) -> None:
        trainer = quiet_trainer(tmp_path)
        model = tiny()
        trainer.fit(model, tiny_data())
        with torch.no_grad():
            next(model.decoder.parameters()).view(-1)[3] = value
        with pytest.raises(ValueError, match=r"decoder\.\S+ is not finite after step 5: nothing is saved"):
            trainer.save_checkpoint(tmp_path / "bad.ckpt")
        assert not (tmp_path / "bad.ckpt").exists()


class TestFolderLock:
    def test_one_process_at_a_time(self, tmp_path: Path) -> None:
        def hold(pause: Callable[[], None]) -> None:
            lock = FolderLock(tmp_path)
            pause()
            del lock

        child = Child(hold)
        child.wait()
        with pytest.raises(ValueError, match=rf"in use by process {child.pid} on .*: give this run another folder"):
            FolderLock(tmp_path)
        child.end()  # without a word
        lock = FolderLock(tmp_path)
        lock.release()
        assert names(tmp_path) == []
