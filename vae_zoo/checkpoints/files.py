"""Atomic checkpoint files with a checksum.

A file is written to a temporary name, synced and renamed. It ends with a checksum of its content, as the comment of
the zip archive, so ``torch.load`` can still read it.
"""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any
from zipfile import BadZipFile, ZipFile

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from vae_zoo.system.locks import acquire
from vae_zoo.system.writing import sync

_MARK = b"vae_zoo crc32 "
_LENGTH = len(_MARK) + 8
_END = 22  # bytes that end a zip archive before its comment
_PART = 2**22
_PROBE = 2**16  # bytes without which no run gets far


class DamagedCheckpointError(ValueError):
    """A file that is not what a fit has written."""


class CheckpointWriteError(OSError):
    """A checkpoint that could not be written."""


class CheckpointFiles(TorchCheckpointIO):
    """Plug-in that makes a Trainer write and read checkpoints by :func:`write` and :func:`verify`.

    The command uses it by default; elsewhere, pass ``Trainer(plugins=[CheckpointFiles()])``. Files are always loaded
    with ``weights_only=True``. Addresses such as ``s3://bucket/last.ckpt`` are left to Lightning.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
        else:
            write(checkpoint, path)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = lambda storage, _: storage, weights_only: bool | None = None
    ) -> dict[str, Any]:
        del weights_only
        if "://" not in str(path):
            verify(path)
        try:
            return super().load_checkpoint(path, map_location, weights_only=True)
        except RuntimeError as error:  # of a file without our checksum, in what its archive has none of
            raise DamagedCheckpointError(f"{path} is damaged: torch cannot read it.") from error


def write(checkpoint: dict[str, Any], path: str | Path) -> None:
    """Write a checkpoint atomically: at any time there is either the old file or the new one.

    Raises:
        CheckpointWriteError: If it cannot be written; an existing file is kept.
    """
    path = Path(path)
    with _named(path), _replacing(path) as file:
        summed = _Summed(file)
        try:
            torch.save(checkpoint, summed)  # type: ignore[arg-type]  # all that it asks for
        except Exception as error:
            raise (summed.error or error) from None  # torch has words of its own for a write that failed
        file.seek(-2, os.SEEK_END)  # the length of the comment, 0 so far
        file.write(_LENGTH.to_bytes(2, "little") + _MARK + b"%08x" % summed.crc)


def verify(path: str | Path) -> None:
    """Read a whole checkpoint and compare it with its checksum, or with those of its archive if it has none.

    Raises:
        FileNotFoundError: If there is no such file.
        DamagedCheckpointError: If the file is torn, damaged, or not a file of torch.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}: give the path of a .ckpt file.")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(max(0, size - _LENGTH - _END))
        tail = file.read()
        end = tail[-_LENGTH:]
        if end.startswith(_MARK):
            file.seek(0)
            whole = _crc(file, size - _LENGTH - 2)
            length = file.read(2)
            fits = b"%08x" % zlib.crc32(b"\0\0", whole) == end[len(_MARK) :]
            if not fits or length != _LENGTH.to_bytes(2, "little"):
                raise DamagedCheckpointError(f"{path} is damaged: its checksum does not fit what is in it.")
            return
    if not start:
        raise DamagedCheckpointError(f"{path} is no checkpoint: it is empty.")
    if not b"PK\x03\x04".startswith(start):
        raise DamagedCheckpointError(f"{path} is no checkpoint: torch.save has not written it.")
    at = tail.rfind(b"PK\x05\x06")
    cut = at >= 0 and int.from_bytes(tail[at + _END - 2 : at + _END], "little") > len(tail) - at - _END
    try:
        with ZipFile(path) as archive:
            torn = archive.testzip()
    except BadZipFile:
        cut, torn = True, None
    except (OSError, ValueError, RuntimeError, NotImplementedError, EOFError, zlib.error):
        torn = "what is in it"
    if cut:
        raise DamagedCheckpointError(f"{path} is torn: its end is missing.")
    if torn:
        raise DamagedCheckpointError(f"{path} is damaged: its checksum does not fit {torn}.")


def check_writable(folder: str | Path) -> None:
    """Write something to a folder, and take it away again.

    Raises:
        CheckpointWriteError: If that fails, as a checkpoint would.
    """
    probe = Path(folder) / ".probe"
    with _named(Path(folder)), _replacing(probe) as file:
        file.write(bytes(_PROBE))
    probe.unlink(missing_ok=True)


class _Summed:
    """A file for torch to write to, which sums up what is written and keeps the error that writing ends in."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.crc = file, 0
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        self.crc = zlib.crc32(data, self.crc)
        try:
            return self.file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        pass


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of another once it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_orphans(path.parent)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            acquire(file)  # as long as the process lives: what nobody holds is an orphan
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def _remove_orphans(folder: Path) -> None:
    """Remove what processes that are dead by now have left half written."""
    for temporary in folder.glob(".*.tmp"):
        with suppress(OSError), temporary.open("rb+") as file:
            if acquire(file):
                temporary.unlink()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise CheckpointWriteError(f"cannot write checkpoints, {reason}: {path}.") from error


def _crc(file: IO[bytes], size: int) -> int:
    crc = 0
    while size > 0 and (part := file.read(min(_PART, size))):
        crc, size = zlib.crc32(part, crc), size - len(part)
    return crc
