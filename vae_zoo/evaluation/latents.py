"""Statistics of the latents of a trained model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vae_zoo.data import DataModule
from vae_zoo.data.base.splits import SplitName
from vae_zoo.distributions import mean_of, stddev_of
from vae_zoo.system.seeding import mix
from vae_zoo.training.latent_scale import LatentMoments, LatentScale

_CHUNK = 64


def check_scalable(model: Any) -> None:
    """Refuse a model whose latents are no numbers to be scaled.

    Raises:
        ValueError: If they are codes or classes.
    """
    if not getattr(model, "continuous", False) or hasattr(model, "codes"):
        raise ValueError(f"{type(model).__name__} has discrete latents, which have no mean and scale.")


@torch.no_grad()
def latent_scale(
    model: Any, data: DataModule, split: SplitName = "train", *, num: int | None = 4096, seed: int = 0
) -> LatentScale:
    """Mean, standard deviation and scale of the latents of a split.

    Args:
        model: A trained model; it is put into evaluation mode meanwhile.
        data: Its data.
        split: "train", "val" or "test".
        num: Number of examples, drawn at random; None for all.
        seed: Seed of the choice.

    Raises:
        ValueError: If num is less than 1, or the latents are discrete, or the same for all examples.
    """
    check_scalable(model)
    if num is not None and num < 1:
        raise ValueError(f"num must be at least 1, got {num}.")
    rows = torch.randperm(len(data.load(split).x), generator=torch.Generator().manual_seed(seed))[:num].sort().values
    moments = LatentMoments(model.latent_shape[0], model.device)
    training = model.training
    model.eval()
    try:
        for n, part in enumerate(rows.split(_CHUNK)):
            moments.add(*posterior_moments(model, data.prepared(split, part, mix(seed, n), model.device)))
    finally:
        model.train(training)
    return moments.compute(len(rows))


def posterior_moments(model: Any, batch: Any) -> tuple[Tensor, Tensor]:
    """Mean and σ of the posteriors of a batch, (B, \\*latent)."""
    x, c = model.unpack(batch)
    q = model.encode(x, c)
    return mean_of(q, x.device), stddev_of(q, x.device)
