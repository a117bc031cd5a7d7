"""Arrays that stay on disk and are read when indexed."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

_CHUNK = 2**24


def to_tensor(x: np.ndarray) -> Tensor:
    """Examples in their stored type: boolean images become uint8, uint8 images stay uint8, others become float32."""
    if x.ndim > 2 and x.dtype == np.bool_:
        return torch.from_numpy(x.astype(np.uint8) * 255)
    if x.ndim > 2 and x.dtype == np.uint8:
        return torch.from_numpy(np.ascontiguousarray(x))
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, which is refused with its place
        return torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))


class Mapped:
    """Examples in a memory-mapped array, indexed like a tensor, a whole batch at once.

    Takes the place of the tensor ``x`` of a :class:`Split` that is larger than memory. Examples are not kept after
    reading.

    Args:
        array: The array, (N, ...), from ``numpy.load(path, mmap_mode="r")`` or ``numpy.memmap``; or anything that is
            indexed by rows and has ``shape``, ``dtype`` and ``itemsize``.
        rows: Rows of the array that are the examples, in order; None for all.
        convert: Conversion from rows of the array to examples; by default to float32, except for uint8 images.
        finite: Whether all examples are known to be finite.
    """

    def __init__(
        self,
        array: Any,
        rows: np.ndarray | None = None,
        convert: Callable[[np.ndarray], Tensor] = to_tensor,
        *,
        finite: bool = False,
    ) -> None:
        self.finite = finite
        self._map: mmap.mmap | None = getattr(array, "_mmap", None)
        self._array: Any = array.view(np.ndarray) if isinstance(array, np.ndarray) else array
        self._rows, self._convert = rows, convert
        none = convert(np.empty((0, *array.shape[1:]), array.dtype))
        self.dtype, self.shape = none.dtype, torch.Size((len(array if rows is None else rows), *none.shape[1:]))
        self._row_bytes = prod(array.shape[1:]) * array.itemsize

    device = torch.device("cpu")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Tensor | slice) -> Tensor:
        """Examples at some positions, read in the order of the file.

        Args:
            index: Positions, (B,), or a slice.
        """
        if isinstance(index, slice):
            index = torch.arange(len(self))[index]
        rows = index.cpu().numpy() if self._rows is None else self._rows[index.cpu().numpy()]
        order = np.argsort(rows, kind="stable")
        taken = self._array[rows[order]]
        self._release()
        x = self._convert(taken)
        if bool((order[1:] > order[:-1]).all()):
            return x
        return torch.empty_like(x).index_copy_(0, torch.from_numpy(order), x)

    @property
    def nbytes(self) -> int:
        """Size of the examples as a tensor, in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def is_floating_point(self) -> bool:
        return self.dtype.is_floating_point

    def map(self, function: Callable[[Tensor], Tensor]) -> Mapped:
        """The same examples with a function applied on reading."""
        convert, mapped = self._convert, object.__new__(type(self))
        mapped.__dict__ = {**self.__dict__, "_convert": lambda x: function(convert(x)), "finite": False}
        return mapped

    def read(self) -> Tensor:
        """All examples, in memory."""
        whole = torch.empty(self.shape, dtype=self.dtype)
        for index, x in chunks(self):
            whole[index] = x
        return whole

    def sample(self, num_bytes: int) -> Tensor:
        """Evenly spaced examples, of at most a given size."""
        return torch.cat([self[part] for part in self.sampled(num_bytes).split(256)])

    def sampled(self, num_bytes: int) -> Tensor:
        """Positions of the examples that :meth:`sample` gives."""
        num = max(1, min(len(self), num_bytes * len(self) // self.nbytes))
        return torch.arange(num) * len(self) // num

    def _release(self) -> None:
        """Release the pages that were read, which would add up; the kernel still caches them if it has room."""
        if self._map is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on every platform
            self._map.madvise(mmap.MADV_DONTNEED)


def chunks(x: Tensor | Mapped) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions and examples in chunks that fit into memory, in the order of the file; a tensor is one chunk.

    Args:
        x: Examples, (N, \\*shape).
    """
    if isinstance(x, Tensor):
        yield torch.arange(len(x)), x
        return
    rows = np.arange(len(x)) if x._rows is None else x._rows
    order = np.argsort(rows, kind="stable")
    part = rows[order] * x._row_bytes // _CHUNK  # by the place in the file: what lies between rows is mapped with them
    for index in np.split(order, np.flatnonzero(np.diff(part)) + 1):
        yield torch.from_numpy(index), x[torch.from_numpy(index)]


def load_if_small(x: Mapped, limit: float) -> Tensor | Mapped:
    """The examples in memory, unless they are larger than a limit.

    Args:
        x: The examples.
        limit: The limit, in GiB.
    """
    return x if x.nbytes > limit * 2**30 else x.read()
