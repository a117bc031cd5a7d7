"""Weights by their names, files of them, read as tensors alone, and buffers that half precision would round."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch
from torch import Tensor, nn


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """Tensors by their names from a file of ``torch.save`` or safetensors, on the CPU and without executing anything.

    Args:
        path: The file.
        what: Whose weights it should hold, for the errors.

    Raises:
        ValueError: If the file is of another kind.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is no file of weights, or holds more than tensors.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} must hold the weights of {what}, tensors by their names.")
    return state


@contextmanager
def exact_buffers(module: nn.Module) -> Iterator[None]:
    """Keep the buffers of a module itself in their dtype where a cast to half precision would round them."""
    kept = dict(module.named_buffers(recurse=False))
    yield
    for name, value in kept.items():
        now = getattr(module, name)
        if now.dtype in (torch.bfloat16, torch.float16):
            setattr(module, name, value.to(now.device))


def uncompiled(name: str) -> str:
    """The name of a weight without the mark of parts that ``torch.compile`` has wrapped, ``encoder._orig_mod.bias``."""
    return name.replace("_orig_mod.", "")


_restoring: ContextVar[bool] = ContextVar("restoring", default=False)


@contextmanager
def restoring() -> Iterator[None]:
    """Mark what is built within the context as getting all of its weights from a checkpoint."""
    token = _restoring.set(True)
    try:
        yield
    finally:
        _restoring.reset(token)


def is_restoring() -> bool:
    """Whether weights come from a checkpoint, so that files which they first came from are not needed."""
    return _restoring.get()
