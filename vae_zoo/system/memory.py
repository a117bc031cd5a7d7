"""Memory of computations, of models and of the machine."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Peak(TorchDispatchMode):
    """Measures the peak memory, in bytes, of tensors created in its context, on any device.

    It counts storages, so views are free; temporary memory within an operation is not measured.

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


def physical() -> int:
    """Memory available to this process in bytes: that of the machine or of its container."""
    found = [2**62]
    with suppress(ValueError, OSError, AttributeError):  # not everywhere
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(ValueError, OSError):
        found.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(found)


@contextmanager
def fitting() -> Iterator[None]:
    """Refuse modules whose weights do not fit into memory, before the process is killed while filling them.

    Raises:
        ValueError: If the modules created in this context take more memory than available.
    """
    limit, held = physical(), 0

    def add(module: nn.Module, name: str, value: Any) -> None:  # noqa: ARG001
        nonlocal held
        if isinstance(value, Tensor) and value.device.type == "cpu" and not hasattr(value, "materialize"):
            held += value.nbytes
        if held > limit:
            raise ValueError(
                f"the weights of a model of these sizes take more than the {limit / 2**30:.1f} GiB of memory here: "
                "choose smaller ones."
            )

    kinds = (hooks.register_module_parameter_registration_hook, hooks.register_module_buffer_registration_hook)
    handles = [register(add) for register in kinds]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def check_trainable(model: nn.Module, device: torch.device) -> None:
    """Refuse to train a model on the CPU if it does not fit into memory with its gradients.

    Raises:
        ValueError: If it does not.
    """
    needed, limit = sum(2 * p.nbytes for p in model.parameters() if p.requires_grad), physical()
    if device.type == "cpu" and needed > limit:
        raise ValueError(
            f"the model takes {needed / 2**30:.1f} GiB with its gradients, there are {limit / 2**30:.1f}: choose a "
            "smaller one."
        )


def keep_freed_memory() -> None:
    """Let the C library keep memory that a step on the CPU frees, for the next step.

    glibc returns large blocks to the system, with a threshold that adapts up to 32 MiB. Mapping and zeroing the memory
    again at every step takes a few percent of a training step of a dense model, and a fifth of a chunk of its evidence.
    """
    torch.empty(2**25 - 2**16, dtype=torch.uint8)
