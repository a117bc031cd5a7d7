from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Batches, quiet_trainer, tiny, tiny_data
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from vae_zoo.callbacks import PredictionWriter
from vae_zoo.models import AE, VAE


def predict(folder: Path, model: Any, data: Any, **kwargs: Any) -> set[str]:
    trainer = quiet_trainer(folder, callbacks=[PredictionWriter(**kwargs)])
    assert trainer.predict(model, data, return_predictions=False) is None
    written = {path.name for path in folder.iterdir()}
    assert {path.name for path in trainer.callbacks[0].paths} == written
    return written


@pytest.mark.parametrize("cls", [VAE, AE])
@pytest.mark.parametrize("batch_size", [1, 3, 8, 100])
def test_files(cls: type, batch_size: int, tmp_path: Path) -> None:
    model, data = tiny(cls), tiny_data(eval_batch_size=batch_size)
    files = predict(tmp_path, model, data, num_samples=9, num_paths=2, num_dims=10, num_steps=5)
    split = data.load("test")
    x = split.x.float() / 255
    latents, rows = np.load(tmp_path / "latents.npz"), np.load(tmp_path / "reconstructions.npz")
    np.testing.assert_allclose(latents["z"], model.embed(x).detach(), atol=1e-6)
    np.testing.assert_allclose(latents["z_scale"], model.encode(x).stddev.detach(), atol=1e-6)
    np.testing.assert_array_equal(latents["y"], split.y)
    np.testing.assert_array_equal(rows["x"], x)
    np.testing.assert_allclose(rows["reconstruction"], model.reconstruct(x).detach(), atol=1e-6)
    pairs = min(2, batch_size // 2)
    names = {"traversals"} | ({"samples"} if cls is VAE else set()) | ({"interpolations"} if pairs else set())
    assert files == {f"{n}.{kind}" for n in names | {"reconstructions"} for kind in ("npz", "png")} | {"latents.npz"}
    traversals = np.load(tmp_path / "traversals.npz")
    assert traversals["x"].shape == (4, 5, 1, 8, 8)  # asked for 10 dimensions of 4
    assert sorted(traversals["dims"]) == [0, 1, 2, 3]
    if pairs:
        assert np.load(tmp_path / "interpolations.npz")["x"].shape == (pairs, 5, 1, 8, 8)
    if cls is VAE:
        assert np.load(tmp_path / "samples.npz")["x"].shape == (9, 1, 8, 8)
        with Image.open(tmp_path / "samples.png") as image:
            assert image.size == (3 * 34 + 2, 3 * 34 + 2)


def test_is_the_same_again_and_leaves_nothing_behind(tmp_path: Path) -> None:
    model, data = tiny(VAE), tiny_data()
    files = predict(tmp_path, model, data)
    first = {name: np.load(tmp_path / name) for name in files if name.endswith("npz")}
    first = {(name, key): file[key] for name, file in first.items() for key in file}
    assert predict(tmp_path, model, data) == files
    for (name, key), value in first.items():
        np.testing.assert_array_equal(np.load(tmp_path / name)[key], value)


def test_vectors(tmp_path: Path) -> None:
    model, x = tiny(VAE, shape=(5,)), torch.rand(7, 5)
    files = predict(tmp_path, model, Batches(x[:4], x[4:]))
    assert files == {f"{n}.npz" for n in ("latents", "reconstructions", "samples", "interpolations", "traversals")}
    np.testing.assert_array_equal(np.load(tmp_path / "reconstructions.npz")["x"], x)


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_plain_loader(tmp_path: Path) -> None:
    x, y = torch.rand(7, 1, 8, 8), torch.arange(7)
    predict(tmp_path, tiny(VAE), DataLoader(TensorDataset(x, y), batch_size=3))
    np.testing.assert_array_equal(np.load(tmp_path / "latents.npz")["y"], y)
    np.testing.assert_array_equal(np.load(tmp_path / "reconstructions.npz")["x"], x)


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    files = predict(tmp_path, tiny(VAE), tiny_data(), num_samples=0, num_paths=0, num_dims=0)
    assert files == {"latents.npz", "reconstructions.npz", "reconstructions.png"}


def test_half_precision(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[PredictionWriter()], precision="bf16-true")
    trainer.predict(tiny(VAE), Batches(torch.rand(4, 1, 8, 8)), return_predictions=False)
    assert np.load(tmp_path / "latents.npz")["z"].dtype == np.float32
    assert np.load(tmp_path / "reconstructions.npz")["x"].shape == (4, 1, 8, 8)


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """Batches are on disk once they are written: nothing of them is kept by the callback."""
    writer = PredictionWriter()
    quiet_trainer(tmp_path, callbacks=[writer]).predict(tiny(VAE), tiny_data(), return_predictions=False)
    assert not [v for v in vars(writer).values() if isinstance(v, (torch.Tensor, np.ndarray))]


@pytest.mark.parametrize("kwargs", [{"num_samples": -1}, {"num_paths": -1}, {"num_dims": -1}, {"num_steps": 1}])
def test_errors(kwargs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 0 and num_steps at least 2, got"):
        PredictionWriter(**kwargs)
