"""Rows on disk, written as they come by every process and merged in the order of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from vae_zoo.system.writing import explaining_write_errors

_BLOCK = 2**22
_SPAN = 4096

Layout: TypeAlias = tuple[np.dtype, tuple[int, ...]]
"""Type and shape of one row of a column."""


class RowFiles:
    """Columns of one process, each a file in the folder ``parts``.

    Args:
        folder: Folder of the results.
        rank: Number of this process.
        prefix: Beginning of the names of the files.
    """

    def __init__(self, folder: Path, rank: int, prefix: str = "") -> None:
        self.folder, self.rank, self.prefix = folder / "parts", rank, prefix
        self.layout: dict[str, Layout] = {}

    def clear(self) -> None:
        """Remove files that an earlier run has left behind."""
        for stale in self.folder.glob(f"{self.prefix}{self.rank}_*.bin"):
            stale.unlink()

    def append(self, columns: Mapping[str, Tensor]) -> None:
        """Add the rows of a batch.

        Raises:
            WriteError: If they cannot be written.
        """
        with explaining_write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        for name, value in columns.items():
            value = value.float() if value.dtype == torch.bfloat16 else value  # which numpy does not know
            array = value.detach().cpu().numpy()
            path = self.path(name, self.rank)
            with explaining_write_errors(path), path.open("ab") as file:
                file.write(np.ascontiguousarray(array).tobytes())
            self.layout[name] = (array.dtype, array.shape[1:])

    def path(self, name: str, rank: int) -> Path:
        return self.folder / f"{self.prefix}{rank}_{name}.bin"

    def merged(self, world_size: int) -> MergedRows:
        """The rows of all processes."""
        return MergedRows(self, world_size)

    def remove(self) -> None:
        """Remove the files of all processes, and of all others in the folder."""
        if not self.folder.is_dir():
            return
        for part in self.folder.glob("*.bin"):
            part.unlink()
        self.folder.rmdir()


class MergedRows:
    """The rows of all processes in the order of the data, each once, read in blocks.

    Args:
        files: Files of one process.
        world_size: Number of processes.
    """

    def __init__(self, files: RowFiles, world_size: int) -> None:
        self._files, self.layout = files, files.layout
        ranks = [_read(files.path("index", rank)) for rank in range(world_size)]
        self._sizes = [len(index) for index in ranks]
        # Of each example its first place: without those that fill up the last rank's share.
        self.positions, self._places = np.unique(np.concatenate(ranks), return_index=True)

    def __len__(self) -> int:
        return len(self.positions)

    def spans(self) -> Iterator[tuple[int, int]]:
        """Start and end of each block of rows; of no rows, one empty block. The last may end beyond the rows."""
        return ((start, start + _SPAN) for start in range(0, max(len(self), 1), _SPAN))

    def take(self, name: str, start: int, end: int) -> np.ndarray:
        """Some rows of a column. A map is closed after each call: otherwise the pages it has read stay in memory."""
        return self.pick(name, np.arange(start, min(end, len(self))))

    def pick(self, name: str, numbers: np.ndarray) -> np.ndarray:
        """Rows of a column in any order, by their numbers."""
        dtype, shape = self.layout[name]
        wanted, begin = self._places[numbers], 0
        rows = np.empty((len(wanted), *shape), dtype)
        for rank, num in enumerate(self._sizes):
            here = (begin <= wanted) & (wanted < begin + num)
            if here.any():
                path = self._files.path(name, rank)
                rows[here] = np.memmap(path, dtype=dtype, mode="r", shape=(num, *shape))[wanted[here] - begin]
            begin += num
        return rows

    def column(self, name: str) -> tuple[Any, tuple[int, ...], Iterator[np.ndarray]]:
        """A column of :func:`~vae_zoo.system.writing.write_npz`, a few megabytes at a time."""
        dtype, shape = self.layout[name]
        block = max(1, _BLOCK // max(1, dtype.itemsize * math.prod(shape)))
        blocks = (self.take(name, start, start + block) for start in range(0, len(self), block))
        return dtype, (len(self), *shape), blocks


def _read(path: Path) -> np.ndarray:
    """Positions of the rows of a process; none of one that had no batch."""
    return np.fromfile(path, np.int64) if path.exists() else np.empty(0, np.int64)
