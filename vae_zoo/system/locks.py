"""Locks that are released when their process ends, even if it is killed."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

fcntl: Any = None
with suppress(ImportError):  # not on Windows, where nothing is locked
    import fcntl


def acquire(file: IO[Any]) -> bool:
    """Lock a file for this process; False if another process has it. On file systems without locks, always True."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:  # no locks here
        return True
    return True


class FolderLock:
    """Exclusive right of one process to write to a folder.

    Args:
        folder: Folder to lock; a file ``.lock`` in it names the owner.

    Raises:
        ValueError: If a running process has the lock.
    """

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / ".lock"
        while True:
            self._file = self.path.open("a+", encoding="utf-8")
            if not acquire(self._file):
                self._file.seek(0)
                owner = self._file.read().strip() or "another run"
                self._file.close()
                raise ValueError(f"{folder} is in use by {owner}: give this run another folder.")
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(self._file.fileno()), self.path.stat()):
                    break
            self._file.close()  # its owner has just removed it
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        self._file.flush()

    def release(self) -> None:
        """Release the folder."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
        self._file.close()
