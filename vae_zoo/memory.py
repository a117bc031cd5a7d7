"""What a computation holds in memory."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Measures the most bytes that the tensors made within it hold at once, on any device.

    Counted are storages, so that a view costs nothing; what an operation needs only while it runs is not seen.

    Example:
        >>> with Peak() as peak:
        ...     _ = torch.zeros(1000).exp().sum()
        >>> peak.bytes
        8000
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self._held = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        for storage in _storages((args, kwargs)):
            self._seen.add(storage)  # if it is new, it was there before: what is made within is seen as a result first
        result = func(*args, **kwargs)
        for storage in _storages(result):
            if storage not in self._seen:
                self._seen.add(storage)
                self._hold(storage.nbytes())
                weakref.finalize(storage, self._hold, -storage.nbytes())
        return result

    def _hold(self, num: int) -> None:
        self._held += num
        self.bytes = max(self.bytes, self._held)


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def keep_freed_memory() -> None:
    """Let the C library hold on to what one step on the CPU frees, for the next.

    glibc gives blocks back to the system by a limit that follows the largest one freed so far, up to 32 MiB. Below it,
    every step has its memory mapped and zeroed anew: a few percent of a training step of a dense model, and a fifth of
    a chunk of its evidence.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)
