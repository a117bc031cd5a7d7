"""Shared cases of the tests of array files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vae_zoo.data import Arrays

NUMBERS = np.arange(20, dtype=np.float64)
VECTORS = np.stack([NUMBERS, NUMBERS / 10, -NUMBERS], 1)
IMAGES = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None], (20, 4, 5)).copy()


def whole(data: Arrays) -> tuple[torch.Tensor, torch.Tensor | None]:
    """All splits together, in the order of the file, by the first number of each example."""
    data.setup()
    splits = [data.load(split) for split in ("train", "val", "test")]
    assert [len(split.x) for split in splits] == [16, 2, 2]
    assert data.num_train == 16
    x = torch.cat([split.x for split in splits])
    order = x.flatten(1)[:, 0].argsort()
    return x[order], None if splits[0].y is None else torch.cat([split.y for split in splits])[order]


def check_one_line(kind: type[Exception], pattern: str, **kwargs: Any) -> None:
    with pytest.raises(kind, match=f"^{pattern}$") as error:
        Arrays(**{**kwargs, "path": str(kwargs["path"])}).setup()
    assert "\n" not in str(error.value)
