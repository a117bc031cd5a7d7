"""Data on the accelerator: whole splits that fit, or the next batch copied during the current step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from vae_zoo.data.base.mapped import Mapped
from vae_zoo.data.base.splits import Split, SplitName
from vae_zoo.typing import Batch

DeviceData: TypeAlias = bool | Literal["auto"]

SHARE = 0.25
"""Fraction of the device's free memory that a split may take."""


def on_device(split: Split, device: torch.device, wanted: DeviceData) -> bool:
    """Whether to keep a split on a device.

    Args:
        split: The split.
        device: The device.
        wanted: True, False, or "auto" for splits that take at most a quarter of the free memory of a CUDA device.

    Raises:
        ValueError: If True is given for a split that is not in memory.
    """
    if isinstance(split.x, Mapped):
        if wanted is True:
            size = f"{split.x.nbytes / 2**30:.3g} GiB"
            raise ValueError(f"device_data copies a split from memory: set in_memory_limit above {size}, or 'auto'.")
        return False
    if wanted == "auto":
        return device.type == "cuda" and split.x.nbytes <= SHARE * free_memory(device)
    return wanted


class DeviceSplits:
    """Splits kept on a device, each copied there once."""

    def __init__(self) -> None:
        self._splits: dict[SplitName, tuple[torch.device, Split]] = {}

    def get(self, name: SplitName, split: Split, device: torch.device) -> Split:
        """The copy on the device of a split in memory."""
        if self._splits.get(name, (None,))[0] != device:
            y = None if split.y is None else split.y.to(device)
            self._splits[name] = device, split._replace(x=split.x.to(device), y=y)  # type: ignore[union-attr]  # never mapped
        return self._splits[name][1]

    def clear(self) -> None:
        """Free the memory of the device."""
        self._splits.clear()


def free_memory(device: torch.device) -> int:
    """Free memory of a CUDA device in bytes."""
    return torch.cuda.mem_get_info(device)[0]


def overlaps(device: torch.device) -> bool:
    """Whether a device can copy while it computes."""
    return device.type == "cuda"


def prefetch(batches: Iterator[Batch], device: torch.device) -> Iterator[Batch]:
    """The same batches on a device, each copied while the previous one is processed.

    Args:
        batches: Batches in host memory.
        device: The device; on CUDA the copies have their own stream.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None
    waiting = None
    for batch in batches:
        with torch.cuda.stream(stream):
            y = None if batch.y is None else _copy(batch.y, device)
            copied = batch._replace(x=_copy(batch.x, device), y=y, index=_copy(batch.index, device))
        copy = None if stream is None else stream.record_event()  # waiting for the stream would wait for the next one
        if waiting is not None:
            yield _arrived(*waiting)
        waiting = copied, copy
    if waiting is not None:
        yield _arrived(*waiting)


def _copy(x: Tensor, device: torch.device) -> Tensor:
    return (x.pin_memory() if device.type == "cuda" else x).to(device, non_blocking=True)


def _arrived(batch: Batch, copy: torch.cuda.Event | None) -> Batch:
    if copy is not None:
        current = torch.cuda.current_stream(batch.x.device)
        current.wait_event(copy)
        for x in batch[:3]:
            if x is not None:
                x.record_stream(current)  # not to be overwritten by the next copy before the model has read it
    return batch
