"""Latents of data, to fit a density to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from vae_zoo.data import DataModule
from vae_zoo.data.base.splits import SplitName
from vae_zoo.system.seeding import forked, mix

_CHUNK = 256
"""Examples encoded at once, fixed so that draws depend only on the seed."""


@torch.no_grad()
def latents(
    model: Any, data: DataModule, split: SplitName = "train", *, num: int | None = None, seed: int = 0
) -> Iterator[Tensor]:
    """Latents of a split in chunks: a draw z ~ q(z|x) of each example, or its code if q has no spread.

    Together the draws are a sample of the aggregate posterior, unlike the means of q. For a model of discrete codes
    they are the codes.

    Args:
        model: A trained model; it is put into evaluation mode meanwhile.
        data: Its data.
        split: "train", "val" or "test".
        num: Number of examples, drawn at random; all of them if not given.
        seed: Seed of the examples and draws.

    Returns:
        Chunks (B, \\*latent), or (B, \\*grid) of codes.

    Raises:
        ValueError: If num is less than 1.
    """
    if num is not None and num < 1:
        raise ValueError(f"num must be at least 1, got {num}.")
    rows = torch.arange(len(data.load(split).x))
    if num is not None and num < len(rows):
        rows = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:num].sort().values
    training = model.training
    model.eval()
    try:
        for n, part in enumerate(rows.split(_CHUNK)):
            key = mix(seed, n)
            with forked(key, model.device):
                x, c = model.unpack(data.prepared(split, part, key, model.device))
                z = model.codes(x) if hasattr(model, "codes") else model.embed(x, c, sample=True)
            yield z
    finally:
        model.train(training)
