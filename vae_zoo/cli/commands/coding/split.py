"""The examples of a split, as arrays to code."""

from __future__ import annotations

from typing import Any

import torch

from vae_zoo.evaluation.coding.sources import Source


def examples(model: Any, data: Any, split: str, num: int | None) -> Source:
    """Examples of a split as evaluation sees them, in their order.

    Raises:
        ValueError: If the split is empty.
    """
    data.predict_split = split
    data.setup("predict")
    rows, count = [], 0
    for batch in data.predict_dataloader():
        x, _ = model.unpack(data.on_after_batch_transfer(batch, 0))
        rows.append(x)
        count += len(x)
        if num is not None and count >= num:
            break
    return Source(torch.cat(rows).float().numpy(), f"the {split} split")
