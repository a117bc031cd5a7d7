"""Files that are there whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes ``path`` when all is written, and is gone if that fails."""
    part = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """A new folder to write to, whose files move into ``folder`` when all are written, and are gone if that fails.

    Raises:
        OSError: If the folder cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix=".part-") as part:
        yield Path(part)
        folder.mkdir(exist_ok=True)
        for file in Path(part).iterdir():
            file.replace(folder / file.name)


def sync(folder: Path) -> None:
    """Have the names in a folder on the disk, where its file system can say so.

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
