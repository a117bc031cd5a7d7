"""Latents written by predict for a model of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import quiet_trainer, tiny, tiny_data

from vae_zoo.callbacks import PredictionWriter
from vae_zoo.callbacks.predicting.shards import SCALE
from vae_zoo.evaluation import latent_scale
from vae_zoo.models import AE, VAE, VQVAE
from vae_zoo.training.latent_scale import LatentScale

pytest.importorskip("litdata", reason="in the extra stream")

from vae_zoo.data.streaming.shards import open_shards


def predicted(folder: Path, model: Any, split: Any = "train", **kwargs: Any) -> tuple[Path, Any]:
    data = tiny_data()
    data.predict_split = split
    quiet = {"num_samples": 0, "num_paths": 0, "num_dims": 0, "table": "none"}
    writer = PredictionWriter(**quiet, **kwargs)
    quiet_trainer(folder, callbacks=[writer]).predict(model, data, return_predictions=False)
    (path,) = (path for path in writer.paths if path.name == split)
    return path, data


def samples(path: Path) -> np.ndarray:
    shards = open_shards(str(path))
    return np.stack([shards[row]["x"] for row in range(len(shards))])


@pytest.mark.parametrize("kind", ["scaled", "standard"])
def test_rows_and_labels(kind: Any, tmp_path: Path) -> None:
    model = tiny(AE).eval()  # whose posteriors have no spread
    path, data = predicted(tmp_path, model, shards=kind)
    assert path.parent.name == "latents"
    scale = LatentScale(**{k: v for k, v in json.loads((path.parent / SCALE).read_text()).items() if k != "kind"})
    assert scale == model.latent_scale == latent_scale(model, data)
    shards = open_shards(str(path))
    found = [shards[row] for row in range(len(shards))]
    loaded = data.load("train")
    with torch.no_grad():
        z = model.embed(loaded.x.float() / 255)
    z = z * scale.scale if kind == "scaled" else scale.standardised(z)
    assert len(found) == len(z)
    x = torch.from_numpy(np.stack([sample["x"] for sample in found]))
    distance = (x[:, None] - z).abs().sum(-1)  # of small sprites some look alike
    assert distance.amin(0).max() < 1e-4
    assert distance.amin(1).max() < 1e-4
    assert distance.diagonal().max() > 0.1, "in random order"
    same = loaded.y == torch.tensor([sample["y"] for sample in found])[:, None]
    assert (same & (distance < 1e-4)).any(1).all()


def test_draws_are_of_unit_variance_and_the_same_again(tmp_path: Path) -> None:
    model = tiny(VAE).eval()
    path, _ = predicted(tmp_path, model, shards="standard")
    x = samples(path)
    assert np.abs(x.mean(0)).max() < 0.6
    assert np.abs(x.var(0) - 1).max() < 0.7
    assert np.array_equal(samples(predicted(tmp_path / "again", model, shards="standard")[0]), x)


def test_what_the_checkpoint_knows_is_used(tmp_path: Path) -> None:
    model = tiny(AE).eval()
    model.latent_scale = LatentScale([0.0] * 4, [1.0] * 4, 2.0, 7)
    path, data = predicted(tmp_path, model, "val", shards="scaled")
    x = samples(path)
    with torch.no_grad():
        z = model.embed(data.load("val").x.float() / 255)
    assert np.allclose(np.sort(x, 0), np.sort(2 * z.numpy(), 0), atol=1e-5)


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^shards must be one of none, scaled, standard, got 'all'\.$"):
        PredictionWriter(shards="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^VQVAE has discrete latents, which have no mean and scale\.$"):
        predicted(tmp_path, tiny(VQVAE).eval(), shards="scaled")
    data = tiny_data()
    data.new_source = True
    writer = PredictionWriter(shards="scaled")
    with pytest.raises(ValueError, match=r"^shards: the checkpoint has no statistics of its latents, and these are"):
        quiet_trainer(tmp_path, callbacks=[writer]).predict(tiny(AE), data)
