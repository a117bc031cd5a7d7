"""Latents in the plane: coordinates against a second source, rows with their identity, and the picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
import torch
from helpers import load_arrays, tiny, tiny_data
from test_predictions import numbered, predict, table

from vae_zoo.callbacks.pictures.themes import COLOURS
from vae_zoo.callbacks.predicting import embedding
from vae_zoo.callbacks.predicting.embedding import Embedded, draw, embed
from vae_zoo.models import VAE, VQVAE, VaDE


def test_principal_components() -> None:
    random = np.random.default_rng(0)
    z = (random.normal(size=(300, 5)) * [1, 4, 0.5, 2, 0.1]) @ np.linalg.qr(random.normal(size=(5, 5)))[0] + 3
    found = embed(z.reshape(300, 5, 1), "pca")
    left, singular, axes = np.linalg.svd(z - z.mean(0), full_matrices=False)
    for n in (0, 1):
        column = left[:, n] * singular[n] * np.sign(axes[n][np.abs(axes[n]).argmax()])
        np.testing.assert_allclose(found.points[:, n], column, atol=1e-8)
        share = singular[n] ** 2 / (singular**2).sum()
        assert found.axes[n] == f"principal component {n + 1} ({share:.0%} of the variance)"
    assert np.allclose(embed(z[::-1], "pca").points[::-1], found.points), "no sign depends on the order"


def test_few_dimensions() -> None:
    one = embed(np.arange(5.0)[:, None], "auto")
    assert one.axes == ("principal component 1 (100% of the variance)", "no second dimension")
    assert one.points[:, 0].tolist() == [-2, -1, 0, 1, 2]
    same = embed(np.ones((5, 3)), "pca")
    assert not same.points.any()
    assert same.axes[0] == "principal component 1 (0% of the variance)"


def test_without_umap_it_is_pca(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    assert embed(np.random.default_rng(0).normal(size=(9, 4)), "auto").method == "PCA"


@pytest.mark.slow
@pytest.mark.exhaustive
def test_umap() -> None:
    pytest.importorskip("umap")
    z = np.random.default_rng(0).normal(size=(60, 4))
    z[:30] += 20
    first, second = embed(z, "auto"), embed(z, "umap")
    assert torch.get_num_threads() == 1, "numba sets those of every library"
    assert np.array_equal(first.points, second.points)
    assert (first.axes, first.method) == (("UMAP 1", "UMAP 2"), "UMAP")
    halves = first.points[:30], first.points[30:]
    gap = np.linalg.norm(halves[0].mean(0) - halves[1].mean(0))
    assert gap > 3 * max(half.std(0).max() for half in halves)


@pytest.mark.parametrize("method", ["auto"])
def test_files(tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    (tmp_path / "out").mkdir()
    names = [f"n{n}" for n in range(40)]
    files = predict(tmp_path / "out", tiny(VAE, shape=(5,)), numbered(tmp_path, ids=names), embedding=method)
    assert {"embedding.png", "embedding.npz", "embedding.csv"} <= files
    z = load_arrays(tmp_path / "out" / "latents.npz")
    with np.load(tmp_path / "out" / "embedding.npz") as found:
        np.testing.assert_allclose(found["embedding"], embed(z["z"], "pca").points, rtol=1e-5, atol=1e-7)
        assert found["id"].tolist() == z["id"].tolist()
        assert found["index"].tolist() == z["index"].tolist()
    assert list(table(tmp_path / "out" / "embedding.csv")) == ["id", "index", "embedding0", "embedding1"]


def test_labels_and_a_choice_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "MOST", 6)
    predict(tmp_path, tiny(VAE), tiny_data(), embedding="pca", table="none")
    latents = load_arrays(tmp_path / "latents.npz")
    with np.load(tmp_path / "embedding.npz") as found:
        assert len(found["index"]) == 6
        rows = latents["index"].tolist()
        at = [rows.index(row) for row in found["index"].tolist()]
        assert at == sorted(at)
        assert (at[0], at[-1]) == (0, len(rows) - 1)
        assert found["y"].tolist() == latents["y"][at].tolist()
    assert not (tmp_path / "embedding.csv").exists()


def test_without_labels_points_have_the_colour_of_their_cluster(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    model = tiny(VaDE, shape=(5,), num_clusters=2)
    predict(tmp_path / "out", model, numbered(tmp_path), embedding="pca")
    latents = load_arrays(tmp_path / "out" / "latents.npz")
    found = load_arrays(tmp_path / "out" / "embedding.npz")
    assert found["cluster"].tolist() == latents["cluster"].tolist()
    assert set(table(tmp_path / "out" / "latents.csv")) >= {"z0", "cluster", "cluster_probability"}


def colours(path: Path) -> set[str]:
    pixels = (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)
    found, num = np.unique(pixels, axis=0, return_counts=True)
    return {"#{:02X}{:02X}{:02X}".format(*colour) for colour, count in zip(found, num, strict=True) if count > 10}


@pytest.mark.parametrize(
    "num_classes", [8, *(pytest.param(num, marks=pytest.mark.exhaustive) for num in (1, 2, 40, 60))]
)
def test_picture(tmp_path: Path, num_classes: int) -> None:
    points = np.random.default_rng(0).normal(size=(300, 2))
    y = np.arange(300) % num_classes
    draw(tmp_path / "a.png", Embedded(points, ("PC 1", "PC 2"), "PCA"), y, [f"class {n}" for n in range(num_classes)])
    seen = colours(tmp_path / "a.png")
    if num_classes in (2, 8):
        assert set(COLOURS[:num_classes]) <= seen, "in the legend they are opaque"
    draw(tmp_path / "b.png", Embedded(points, ("PC 1", "PC 2"), "PCA"), None)
    draw(tmp_path / "c.png", Embedded(points, ("PC 1", "PC 2"), "PCA"), np.where(y > 0, y, -1))


def test_each_of_48_classes_has_a_colour_and_marker_of_its_own() -> None:
    pairs = {(n % 8, (n + 5 * (n // 8)) % 6) for n in range(48)}
    assert len(pairs) == 48


@pytest.mark.parametrize(
    ("model", "kwargs", "message"),
    [
        (VAE, {"embedding": "tsne"}, "embedding must be none, auto, pca or umap, got 'tsne'."),
        (VQVAE, {"embedding": "pca"}, "embedding: VQVAE has discrete latents, which are no points in a space."),
    ],
)
def test_mistakes(tmp_path: Path, model: Any, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        predict(tmp_path, tiny(model), tiny_data(), **kwargs)
    assert not list(tmp_path.iterdir())
