from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Batches, linear, quiet_trainer, tiny, tiny_data
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset

from vae_zoo.callbacks import PredictionWriter
from vae_zoo.distributions import MSSSIM
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
    assert files == {f"{n}.{kind}" for n in names | {"reconstructions"} for kind in ("npz", "png")} | {
        "latents.npz",
        "scores.npz",
    }
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
    names = {"latents", "scores", "reconstructions", "samples", "interpolations", "traversals"}
    assert files == {f"{name}.npz" for name in names}
    np.testing.assert_array_equal(np.load(tmp_path / "reconstructions.npz")["x"], x)


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_plain_loader(tmp_path: Path) -> None:
    x, y = torch.rand(7, 1, 8, 8), torch.arange(7)
    predict(tmp_path, tiny(VAE), DataLoader(TensorDataset(x, y), batch_size=3))
    np.testing.assert_array_equal(np.load(tmp_path / "latents.npz")["y"], y)
    np.testing.assert_array_equal(np.load(tmp_path / "reconstructions.npz")["x"], x)


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    files = predict(tmp_path, tiny(VAE), tiny_data(), num_samples=0, num_paths=0, num_dims=0)
    assert files == {"latents.npz", "scores.npz", "reconstructions.npz", "reconstructions.png"}


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


def test_scores_of_each_example(tmp_path: Path) -> None:
    """A linear-Gaussian model, whose evidence is known; its posterior is exact, so that every sample says the same."""
    model, x, exact = linear(scale=0.5)
    predict(tmp_path, model, Batches(x[:3], x[3:]), num_importance=2)
    scores = np.load(tmp_path / "scores.npz")
    np.testing.assert_allclose(scores["log_evidence"], exact, rtol=1e-6)
    np.testing.assert_allclose(scores["elbo"], exact, rtol=1e-6)
    np.testing.assert_allclose(scores["log_px"], model.decode(model.embed(x)).log_prob(x).detach(), rtol=1e-6)


def test_the_rate_of_each_example(tmp_path: Path) -> None:
    model, x = tiny(VAE), torch.rand(5, 1, 8, 8)
    predict(tmp_path, model, Batches(x))
    q = model.encode(x)
    rate = (q.mean.square() + q.variance - q.variance.log() - 1).sum(-1) / 2
    np.testing.assert_allclose(np.load(tmp_path / "scores.npz")["kl"], rate.detach(), rtol=1e-4)


@pytest.mark.parametrize(
    ("cls", "kwargs", "names"),
    [
        (VAE, {}, {"elbo", "kl", "log_px", "log_evidence", "y"}),
        (VAE, {"likelihood": MSSSIM}, {"elbo", "kl", "log_px", "y"}),
        (AE, {}, {"log_px", "y"}),
    ],
)
def test_scores_that_a_model_has(cls: type, kwargs: dict[str, Any], names: set[str], tmp_path: Path) -> None:
    predict(tmp_path, tiny(cls, shape=(1, 16, 16), **kwargs), tiny_data(image_size=16), num_importance=2)
    scores = np.load(tmp_path / "scores.npz")
    assert set(scores) == names
    assert all(np.isfinite(scores[name]).all() for name in names)


@pytest.mark.parametrize(
    "kwargs", [{"num_importance": -1}, {"num_samples": -1}, {"num_paths": -1}, {"num_dims": -1}, {"num_steps": 1}]
)
def test_errors(kwargs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 0 and num_steps at least 2, got"):
        PredictionWriter(**kwargs)


def test_rows_that_fill_up_a_rank_are_left_out(tmp_path: Path) -> None:
    """Of 5 examples on 2 ranks, a sampler gives the first one once more to the second rank."""
    parts = tmp_path / "parts"
    parts.mkdir()
    for rank, index in enumerate(([0, 2, 4], [1, 3, 0])):
        np.array(index).tofile(parts / f"{rank}_index.bin")
        (np.array(index, np.float32) + 10 * rank).tofile(parts / f"{rank}_z.bin")
    layout = {"index": (np.dtype(np.int64), ()), "z": (np.dtype(np.float32), ())}
    PredictionWriter()._merge(SimpleNamespace(world_size=2), tmp_path / "latents.npz", layout)  # type: ignore[arg-type]
    with np.load(tmp_path / "latents.npz") as written:
        assert written["index"].tolist() == [0, 1, 2, 3, 4]
        assert written["z"].tolist() == [0, 11, 2, 13, 4]
