"""Samples and reconstructions of a model as one small picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

ROWS, COLUMNS, WIDTH = 4, 8, 24
"""Rows and columns of each grid, and the width in pixels to which small images are enlarged."""


@torch.no_grad()
def save(model: Any, data: Any, path: Path) -> None:
    """Write a grid of reconstructions below their originals and, if the model samples, a grid of samples to the left.

    Args:
        model: The model.
        data: Its data, of grey or coloured images.
        path: The PNG to write.
    """
    from PIL import Image

    data.setup("test")
    x, c = model.unpack(data.on_after_batch_transfer(next(iter(data.test_dataloader()))))
    x, c = x[: ROWS * COLUMNS // 2], None if c is None else c[: ROWS * COLUMNS // 2]
    pairs = torch.stack([x.unflatten(0, (-1, COLUMNS)), model.reconstruct(x, c).unflatten(0, (-1, COLUMNS))], 1)
    grids = [grid(pairs.flatten(0, 2))]
    if hasattr(model, "sample"):
        torch.manual_seed(0)
        grids.insert(0, grid(model.sample(ROWS * COLUMNS)))
    gap = torch.ones(grids[0].shape[0], WIDTH // 2, grids[0].shape[2])
    whole = torch.cat([part for one in grids for part in (gap, one)][1:], 1)
    levels = whole.clamp(0, 1).mul(15).round().mul(17).to(torch.uint8)  # sixteen, which compress well
    image = Image.fromarray(levels.squeeze(-1).numpy())
    (image.quantize(16) if image.mode == "L" else image).save(path, optimize=True)


def grid(x: Tensor) -> Tensor:
    """Images (B, C, H, W) as one image (H', W', C) with gaps, enlarged by a whole factor if they are small."""
    factor = max(1, WIDTH // x.shape[-1])
    x = F.pad(x.float().cpu().repeat_interleave(factor, 2).repeat_interleave(factor, 3), (1, 1, 1, 1), value=1.0)
    return x.unflatten(0, (ROWS, COLUMNS)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
