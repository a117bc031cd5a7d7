"""Atomic writing of files and folders."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from vae_zoo.system.signals import deferred

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
GONE = {errno.ENOENT, errno.ENOTDIR}
UNNAMED = r"PytorchStreamWriter failed|file write failed|unexpected pos \d+ vs \d+"
"""Message of torch for a file that it could not write, for any reason."""


class WriteError(OSError):
    """A file could not be written; the message has the path, the reason and what to do."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path, which is renamed to ``path`` once it is synced to disk, and removed on failure.

    Raises:
        WriteError: If it cannot be written; an existing file is kept.
    """
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    with explaining_write_errors(path, part):
        try:
            yield part
            _flush(part)
            part.replace(path)
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        sync(path.parent)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder, whose files move into ``folder`` when all are written, and are removed on failure.

    A new folder appears with all its files at once.

    Raises:
        WriteError: If the folder or a file cannot be written.
    """
    part = folder.parent / f".part-{secrets.token_hex(4)}"
    with explaining_write_errors(folder, part):
        try:
            part.mkdir(parents=True)
            yield part
            for file in part.iterdir():
                _flush(file)
            with deferred():
                if folder.exists():
                    for file in part.iterdir():
                        file.replace(folder / file.name)
                else:
                    part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        sync(folder.parent)


def write_text(path: Path, text: str) -> None:
    """Write text to a file atomically.

    Raises:
        WriteError: If it cannot be written.
    """
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_npz(path: Path, columns: Mapping[str, tuple[Any, tuple[int, ...], Iterable[Any]]]) -> None:
    """Write arrays to an .npz file in blocks of rows, with only one block in memory.

    Args:
        path: The file.
        columns: Type, shape and blocks of each array; blocks are consumed in order, one array after another.

    Raises:
        WriteError: If it cannot be written.
    """
    import numpy as np

    with replacing(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, (dtype, shape, blocks) in columns.items():
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            with archive.open(f"{name}.npy", "w", force_zip64=True) as column:
                np.lib.format.write_array_header_1_0(column, header)
                for rows in blocks:
                    column.write(np.ascontiguousarray(rows, dtype).data)


def as_column(array: Any) -> tuple[Any, tuple[int, ...], Iterable[Any]]:
    """A whole array as a column of :func:`write_npz`."""
    return array.dtype, array.shape, [array]


@contextmanager
def explaining_write_errors(path: Path, part: Path | None = None) -> Iterator[None]:
    """Turn errors on writing a file into a message with the file, the reason and what to do.

    Args:
        path: The file or folder.
        part: Temporary path that it is written to.

    Raises:
        WriteError: In place of the error of a library. All other errors pass.
    """
    try:
        yield
    except Exception as error:
        if said := explain(error, path, part or path):
            raise WriteError(said) from error
        raise


def explain(error: BaseException, path: Path, part: Path) -> str:
    """Message with the file that could not be written, the reason and what to do; empty for other errors."""
    if isinstance(error, WriteError):  # of a file within
        return str(error).replace(str(part), str(path))
    at: BaseException | None = error
    while at is not None:
        number = at.errno if isinstance(at, OSError) else None
        if found := re.search(r"\(os error (\d+)\)", str(at)):  # as what is written in Rust says it
            number = int(found[1])
        name = at.filename if isinstance(at, OSError) else None
        if number and (name is None or Path(os.fsdecode(name)).is_relative_to(part)):
            where = path / Path(os.fsdecode(name)).relative_to(part) if name else path
            return f"cannot write {where}, {os.strerror(number)}: {advice(number)}."
        at = at.__cause__ or at.__context__
    if re.search(UNNAMED, str(error)):
        return f"cannot write {path}: make room on its disk, or choose another folder."
    return ""


def advice(number: int) -> str:
    """Advice about a file that cannot be written, by error number."""
    if number in FULL:
        return "make room on its disk, or choose another folder"
    return "make its folder anew, or choose another" if number in GONE else "choose another folder"


def _flush(file: Path) -> None:
    """Sync the content of a file to disk."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync(folder: Path) -> None:
    """Sync the entries of a folder to disk, if its file system supports it.

    Raises:
        OSError: If that fails.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # a file system without it
            raise
    finally:
        os.close(descriptor)
