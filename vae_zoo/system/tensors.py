"""Files of weights, read as tensors alone."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor


def read_tensors(path: Path, what: str) -> dict[str, Tensor]:
    """Tensors by their names from a file that ``torch.save`` wrote, on the CPU and without executing anything.

    Args:
        path: The file.
        what: Whose weights it should hold, for the errors.

    Raises:
        ValueError: If the file is of another kind.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is no file of weights, or holds more than tensors.") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} must hold the weights of {what}, tensors by their names.")
    return state
