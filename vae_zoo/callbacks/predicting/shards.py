"""Latents as shards, for a model of them such as one of diffusion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vae_zoo.callbacks.predicting.rows import MergedRows
from vae_zoo.data import DataModule
from vae_zoo.data.streaming.shards import engine, write_samples
from vae_zoo.evaluation.latents import check_scalable, latent_scale
from vae_zoo.system.seeding import forked, mix
from vae_zoo.training.latent_scale import LatentScale

ShardKind: TypeAlias = Literal["none", "scaled", "standard"]

SCALE = "scale.json"


def check_shards(kind: str) -> None:
    """Refuse what is not offered.

    Raises:
        ValueError: If there is no such kind of shards.
        ImportError: If litdata is needed and not installed.
    """
    if kind not in get_args(ShardKind):
        raise ValueError(f"shards must be one of {', '.join(get_args(ShardKind))}, got {kind!r}.")
    if kind != "none":
        engine()


def measure_latents(trainer: Trainer, model: Any) -> None:
    """Measure the scale of the latents on the training split, unless the checkpoint has it.

    Raises:
        ValueError: If the latents are discrete, or the data are not those of the training.
    """
    check_scalable(model)
    if model.latent_scale is not None:
        return
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, DataModule) or data.new_source:
        raise ValueError(
            "shards: the checkpoint has no statistics of its latents, and these are not the data of its training: "
            "predict those, or set latent_scale of the model."
        )
    model.latent_scale = latent_scale(model, data)


@torch.no_grad()
def drawn_latents(model: Any, x: Tensor, c: Tensor | None, *, seed: int) -> Tensor:
    """A draw from the posterior of each example, (B, \\*latent)."""
    with forked(mix(seed, 5), x.device):
        drawn: Tensor = model.embed(x, c, sample=True)
        return drawn


def write_latents(rows: MergedRows, folder: Path, split: str, kind: ShardKind, scale: LatentScale) -> Path:
    """Write the drawn latents of all rows as shards, and beside them what their scale was.

    Args:
        rows: Rows with a column ``latent``, and ``y`` if there are labels.
        folder: Folder of all splits.
        split: Name of the split.
        kind: "scaled" or "standard".
        scale: Moments of the latents.

    Returns:
        Folder of the shards.
    """
    labelled = "y" in rows.layout and not rows.layout["y"][1]

    def taken(index: Tensor) -> tuple[np.ndarray, list[Any] | None]:
        z = torch.from_numpy(rows.pick("latent", index.numpy())).float()
        z = z * scale.scale if kind == "scaled" else scale.standardised(z)
        return z.numpy(), rows.pick("y", index.numpy()).tolist() if labelled else None

    folder.mkdir(parents=True, exist_ok=True)
    write_samples(folder / split, len(rows), taken)
    (folder / SCALE).write_text(json.dumps({"kind": kind, **scale._asdict()}, indent=2) + "\n", encoding="utf-8")
    return folder / split
