"""Samples, reconstructions and traversals of a model as one small picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vae_zoo.callbacks.pictures.traversals import traversals

ROWS, COLUMNS, WIDTH = 4, 8, 24
"""Rows and columns of each grid, and the width in pixels to which small images are enlarged."""

GAP, TITLE, SPAN = 12, 16, 2.5
"""Pixels between grids and above them, and the range of a traversal in units of the prior."""


@torch.no_grad()
def save(model: Any, data: Any, path: Path) -> None:
    """Write grids beside each other: samples, test images above their reconstructions, and traversals.

    There are samples if the model has a prior, and traversals of the latent dimensions that vary most, one a row, if
    its latents are continuous.

    Args:
        model: The model.
        data: Its data, of grey or coloured images.
        path: The PNG to write.
    """
    from PIL import Image, ImageDraw, ImageFont

    data.setup("test")
    x, c = model.unpack(data.on_after_batch_transfer(next(iter(data.test_dataloader()))))
    rest, given = x, c
    x, c = x[: ROWS * COLUMNS // 2], None if c is None else c[: ROWS * COLUMNS // 2]
    pairs = torch.stack([x.unflatten(0, (-1, COLUMNS)), model.reconstruct(x, c).unflatten(0, (-1, COLUMNS))], 1)
    grids = {"images above reconstructions": grid(pairs.flatten(0, 2))}
    if hasattr(model, "sample"):
        torch.manual_seed(0)
        grids = {"samples": grid(model.sample(ROWS * COLUMNS))} | grids
    if model.continuous:
        dims, _, rows, _ = traversals(model, rest, given, num_dims=ROWS, num_steps=COLUMNS, span=SPAN)
        rows = F.pad(rows.flatten(1), (0, 0, 0, ROWS - len(rows)), value=1.0).view(ROWS * COLUMNS, *rows.shape[2:])
        grids[f"latents {', '.join(str(int(n)) for n in dims)}"] = grid(rows)
    gap = torch.ones(next(iter(grids.values())).shape[0], GAP, x.shape[1])
    whole = torch.cat([part for one in grids.values() for part in (gap, one)][1:], 1)
    whole = F.pad(whole, (0, 0, 0, 0, TITLE, 0), value=1.0)
    levels = whole.clamp(0, 1).mul(15).round().mul(17).to(torch.uint8)  # sixteen, which compress well
    image = Image.fromarray(levels.squeeze(-1).numpy())
    left = 0
    for title, one in grids.items():
        ImageDraw.Draw(image).text((left + 1, 1), title, fill="black", font=ImageFont.load_default(11))
        left += one.shape[1] + GAP
    (image.quantize(16) if image.mode == "L" else image).save(path, optimize=True)


def grid(x: Tensor) -> Tensor:
    """Images (B, C, H, W) as one image (H', W', C) with gaps, enlarged by a whole factor if they are small."""
    factor = max(1, WIDTH // x.shape[-1])
    x = F.pad(x.float().cpu().repeat_interleave(factor, 2).repeat_interleave(factor, 3), (1, 1, 1, 1), value=1.0)
    return x.unflatten(0, (ROWS, COLUMNS)).permute(0, 3, 1, 4, 2).flatten(0, 1).flatten(1, 2)
