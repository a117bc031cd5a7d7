from __future__ import annotations

import csv
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Batches, linear, load_arrays, quiet_trainer, tiny, tiny_data
from PIL import Image
from short import few
from sklearn.neighbors import NearestNeighbors
from torch.utils.data import DataLoader, TensorDataset

from vae_zoo.callbacks import PredictionWriter
from vae_zoo.callbacks.predicting.identity import Identity
from vae_zoo.callbacks.predicting.neighbours import nearest
from vae_zoo.callbacks.predicting.results import write_arrays
from vae_zoo.callbacks.predicting.rows import RowFiles
from vae_zoo.data import Arrays, ImageFolder
from vae_zoo.distributions import MSSSIM, FixedNormal
from vae_zoo.models import AE, VAE


def predict(folder: Path, model: Any, data: Any, **kwargs: Any) -> set[str]:
    trainer = quiet_trainer(folder, callbacks=[PredictionWriter(**kwargs)])
    assert trainer.predict(model, data, return_predictions=False) is None
    written = {path.name for path in folder.iterdir()}
    assert {path.name for path in trainer.callbacks[0].paths} == written
    return written


@pytest.mark.parametrize("cls", [VAE, AE])
@pytest.mark.parametrize("batch_size", few([1, 3, 8, 100], 2))
def test_files(cls: type, batch_size: int, tmp_path: Path) -> None:
    model, data = tiny(cls), tiny_data(eval_batch_size=batch_size)
    files = predict(tmp_path, model, data, num_samples=9, num_paths=2, num_dims=10, num_steps=5, labels=False)
    split = data.load("test")
    x = split.x.float() / 255
    latents, rows = load_arrays(tmp_path / "latents.npz"), load_arrays(tmp_path / "reconstructions.npz")
    np.testing.assert_allclose(latents["z"], model.embed(x).detach(), atol=1e-6)
    np.testing.assert_allclose(latents["z_scale"], model.encode(x).stddev.detach(), atol=1e-6)
    np.testing.assert_array_equal(latents["y"], split.y)
    np.testing.assert_array_equal(rows["x"], x)
    np.testing.assert_allclose(rows["reconstruction"], model.reconstruct(x).detach(), atol=1e-6)
    pairs = min(2, batch_size // 2)
    names = {"traversals"} | ({"samples"} if cls is VAE else set()) | ({"interpolations"} if pairs else set())
    assert files == {f"{n}.{kind}" for n in names | {"reconstructions"} for kind in ("npz", "png")} | {
        "latents.npz",
        "latents.csv",
        "scores.npz",
        "scores.csv",
    }
    traversals = load_arrays(tmp_path / "traversals.npz")
    assert traversals["x"].shape == (4, 5, 1, 8, 8)  # asked for 10 dimensions of 4
    assert sorted(traversals["dims"]) == [0, 1, 2, 3]
    if pairs:
        assert load_arrays(tmp_path / "interpolations.npz")["x"].shape == (pairs, 5, 1, 8, 8)
    if cls is VAE:
        assert load_arrays(tmp_path / "samples.npz")["x"].shape == (9, 1, 8, 8)
        with Image.open(tmp_path / "samples.png") as image:
            assert image.size == (3 * 34 + 2, 3 * 34 + 2)


def test_is_the_same_again_and_leaves_nothing_behind(tmp_path: Path) -> None:
    model, data = tiny(VAE), tiny_data()
    files = predict(tmp_path, model, data)
    first = {name: load_arrays(tmp_path / name) for name in files if name.endswith("npz")}
    first = {(name, key): file[key] for name, file in first.items() for key in file}
    assert predict(tmp_path, model, data) == files
    for (name, key), value in first.items():
        np.testing.assert_array_equal(load_arrays(tmp_path / name)[key], value)


def test_vectors(tmp_path: Path) -> None:
    model, x = tiny(VAE, shape=(5,)), torch.rand(7, 5)
    files = predict(tmp_path, model, Batches(x[:4], x[4:]))
    names = {"latents", "scores", "reconstructions", "samples", "interpolations", "traversals"}
    assert files == {f"{name}.npz" for name in names} | {"latents.csv", "scores.csv"}
    np.testing.assert_array_equal(load_arrays(tmp_path / "reconstructions.npz")["x"], x)


@pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning")
def test_plain_loader(tmp_path: Path) -> None:
    x, y = torch.rand(7, 1, 8, 8), torch.arange(7)
    predict(tmp_path, tiny(VAE), DataLoader(TensorDataset(x, y), batch_size=3))
    np.testing.assert_array_equal(load_arrays(tmp_path / "latents.npz")["y"], y)
    np.testing.assert_array_equal(load_arrays(tmp_path / "reconstructions.npz")["x"], x)


def test_only_what_is_asked_for(tmp_path: Path) -> None:
    files = predict(tmp_path, tiny(VAE), tiny_data(), num_samples=0, num_paths=0, num_dims=0, table="none")
    assert files == {"latents.npz", "scores.npz", "reconstructions.npz", "reconstructions.png"}


def test_half_precision(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, callbacks=[PredictionWriter()], precision="bf16-true")
    trainer.predict(tiny(VAE), Batches(torch.rand(4, 1, 8, 8)), return_predictions=False)
    assert load_arrays(tmp_path / "latents.npz")["z"].dtype == np.float32
    assert load_arrays(tmp_path / "reconstructions.npz")["x"].shape == (4, 1, 8, 8)


def test_memory_does_not_grow(tmp_path: Path) -> None:
    """Batches are on disk once they are written: nothing of them is kept by the callback."""
    writer = PredictionWriter()
    quiet_trainer(tmp_path, callbacks=[writer]).predict(tiny(VAE), tiny_data(), return_predictions=False)
    assert not [v for v in vars(writer).values() if isinstance(v, (torch.Tensor, np.ndarray))]


def test_scores_of_each_example(tmp_path: Path) -> None:
    """A linear-Gaussian model, whose evidence is known; its posterior is exact, so that every sample says the same."""
    model, x, exact = linear(scale=0.5)
    predict(tmp_path, model, Batches(x[:3], x[3:]), num_importance=2)
    scores = load_arrays(tmp_path / "scores.npz")
    np.testing.assert_allclose(scores["log_evidence"], exact, rtol=1e-6)
    np.testing.assert_allclose(scores["elbo"], exact, rtol=1e-6)
    np.testing.assert_allclose(scores["log_px"], model.decode(model.embed(x)).log_prob(x).detach(), rtol=1e-6)


def test_the_rate_of_each_example(tmp_path: Path) -> None:
    model, x = tiny(VAE), torch.rand(5, 1, 8, 8)
    predict(tmp_path, model, Batches(x))
    q = model.encode(x)
    rate = (q.mean.square() + q.variance - q.variance.log() - 1).sum(-1) / 2
    np.testing.assert_allclose(load_arrays(tmp_path / "scores.npz")["kl"], rate.detach(), rtol=1e-4)


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
    scores = load_arrays(tmp_path / "scores.npz")
    assert set(scores) == {*names, "index"}
    assert all(np.isfinite(scores[name]).all() for name in names)


@pytest.mark.parametrize(
    "kwargs", [{"num_importance": -1}, {"num_samples": -1}, {"num_paths": -1}, {"num_dims": -1}, {"num_steps": 1}]
)
def test_errors(kwargs: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 0 and num_steps at least 2, got"):
        PredictionWriter(**kwargs)


def test_rows_that_fill_up_a_rank_are_left_out(tmp_path: Path) -> None:
    """Of 5 examples on 2 ranks, a sampler gives the first one once more to the second rank."""
    for rank, index in ((1, [1, 3, 0]), (0, [0, 2, 4])):
        files = RowFiles(tmp_path, rank)
        files.append({"index": torch.tensor(index), "z": torch.tensor(index).float() + 10 * rank})
    rows = files.merged(2)
    write_arrays(rows, Identity(), tmp_path)
    with np.load(tmp_path / "latents.npz") as written:
        assert written["index"].tolist() == [0, 1, 2, 3, 4]
        assert written["z"].tolist() == [0, 11, 2, 13, 4]


def table(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


@pytest.mark.parametrize("batch_size", [1, 4, 100])
def test_rows_are_joined_to_their_source(batch_size: int, tmp_path: Path) -> None:
    """Of a shuffled split of a CSV file, by its ids and by its row numbers, in arrays and in tables."""
    x, names = np.random.default_rng(0).random((60, 5)).astype(np.float32), [f"p{n}, new" for n in range(60)]
    lines = ["a,b,c,d,e,who", *(",".join(map(str, row)) + f',"{name}"' for row, name in zip(x, names, strict=True))]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    data = Arrays(path=str(tmp_path / "a.csv"), id_column="who", test_fraction=0.4, eval_batch_size=batch_size)
    model = tiny(VAE, shape=(5,))
    (tmp_path / "out").mkdir()
    predict(tmp_path / "out", model, data, num_paths=2, num_importance=2)
    index = None
    for name in ("latents", "scores", "reconstructions"):
        with np.load(tmp_path / "out" / f"{name}.npz") as found:
            assert [names[row] for row in found["index"]] == found["id"].tolist()
            assert index is None or np.array_equal(index, found["index"])
            index = found["index"]
            if name == "latents":
                z = found["z"]
            if name == "reconstructions":
                np.testing.assert_array_equal(found["x"], x[index])
    assert len(set(index.tolist())) == 24
    assert not np.array_equal(index, np.sort(index)), "the split is shuffled"
    np.testing.assert_allclose(z, model.embed(torch.from_numpy(x[index])).detach(), atol=1e-6)
    latents, scores = table(tmp_path / "out" / "latents.csv"), table(tmp_path / "out" / "scores.csv")
    assert list(latents) == ["id", "index", "z0", "z1", "z2", "z3"]
    assert list(scores) == ["id", "index", "elbo", "kl", "log_px", "log_evidence"]
    assert latents["id"] == scores["id"] == [names[row] for row in index]
    np.testing.assert_array_equal(np.array([latents[f"z{d}"] for d in range(4)], np.float32).T, z)
    if batch_size > 1:
        with np.load(tmp_path / "out" / "interpolations.npz") as paths:
            first = index[: 2 * len(paths["x"])].reshape(2, -1).T
            np.testing.assert_array_equal(paths["index"], first)
            assert paths["id"].tolist() == [[names[row] for row in pair] for pair in first]


def test_file_names_in_a_folder(tmp_path: Path) -> None:
    for number in range(12):
        Image.new("L", (8, 8), 20 * number).save(tmp_path / f"{number}.png")
    data = ImageFolder(folder=str(tmp_path), image_size=8, channels=1, test_fraction=0.5)
    (tmp_path / "out").mkdir()
    predict(tmp_path / "out", tiny(VAE), data)
    with np.load(tmp_path / "out" / "reconstructions.npz") as rows:
        assert [f"{round(x * 255) // 20}.png" for x in rows["x"][:, 0, 0, 0]] == rows["id"].tolist()
        assert rows["index"].tolist() == [sorted(f"{n}.png" for n in range(12)).index(name) for name in rows["id"]]


def test_latents_that_are_no_vectors_have_no_table(tmp_path: Path) -> None:
    files = predict(tmp_path, tiny(VAE, latent_dim=300), tiny_data(), num_samples=0, num_paths=0, num_dims=0)
    assert {"scores.csv"} == {name for name in files if name.endswith("csv")}


def test_unknown_table() -> None:
    with pytest.raises(ValueError, match=r"^table must be csv, parquet or none, got 'xls'\.$"):
        PredictionWriter(table="xls")  # type: ignore[arg-type]


def test_parquet_without_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        ImportError, match=r"^table parquet needs pyarrow: pip install 'vae_zoo\[table\]', or choose csv\.$"
    ):
        PredictionWriter(table="parquet")


def test_parquet(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    predict(tmp_path, tiny(VAE), tiny_data(), table="parquet")
    found = parquet.read_table(tmp_path / "latents.parquet").to_pydict()
    with np.load(tmp_path / "latents.npz") as latents:
        assert found["index"] == latents["index"].tolist()
        assert found["z1"] == latents["z"][:, 1].tolist()


def test_draws_instead_of_means(tmp_path: Path) -> None:
    """Residuals have the deviation of p(x|z), and the second run draws the same again."""
    model = tiny(VAE, shape=(5,), likelihood=partial(FixedNormal, scale=0.3))
    x = torch.rand(400, 5)
    predict(tmp_path, model, Batches(x[:250], x[250:]), draw="sample")
    first = load_arrays(tmp_path / "reconstructions.npz")["reconstruction"]
    residual = first - model.reconstruct(x).detach().numpy()
    assert abs(residual.std() - 0.3) < 0.02
    assert abs(np.corrcoef(residual[:150, 0], residual[250:, 0])[0, 1]) < 0.3, "batches draw the same"
    samples = load_arrays(tmp_path / "samples.npz")["x"]
    assert samples.std() > 0.25
    predict(tmp_path, model, Batches(x[:250], x[250:]), draw="sample")
    np.testing.assert_array_equal(load_arrays(tmp_path / "reconstructions.npz")["reconstruction"], first)


def numbered(folder: Path, **ids: Any) -> Arrays:
    np.savez(folder / "a.npz", x=np.random.default_rng(0).random((40, 5)).astype(np.float32), **ids)
    data = Arrays(path=str(folder / "a.npz"))
    data.predict_split = "all"
    return data


@pytest.mark.parametrize(
    ("ids", "pairs"),
    [
        (None, [[3, 17], [39, 3]]),
        ([f"n{n}" for n in range(40)], [["n3", 17], ["n39", "n3"]]),
        (list(range(100, 140)), [[103, 117], [139, 103]]),
    ],
)
def test_chosen_pairs(ids: Any, pairs: Any, tmp_path: Path) -> None:
    model, data = tiny(VAE, shape=(5,)), numbered(tmp_path, **({} if ids is None else {"ids": ids}))
    data.eval_batch_size = 7
    (tmp_path / "out").mkdir()
    predict(tmp_path / "out", model, data, pairs=pairs, num_steps=3)
    with np.load(tmp_path / "out" / "interpolations.npz") as paths, np.load(tmp_path / "a.npz") as source:
        assert paths["index"].tolist() == [[3, 17], [39, 3]]
        ends = model.reconstruct(torch.from_numpy(source["x"][paths["index"]]).flatten(0, 1)).detach()
        np.testing.assert_allclose(paths["x"][:, [0, 2]].reshape(4, 5), ends, atol=1e-6)
        assert ids is None or paths["id"].tolist() == [[ids[3], ids[17]], [ids[39], ids[3]]]


def test_chosen_pairs_of_a_shuffled_split(tmp_path: Path) -> None:
    """An index is a row of the file, wherever the shuffle has put it."""
    model, data = tiny(VAE, shape=(5,)), numbered(tmp_path)
    data.predict_split = "train"
    pair = sorted(data.load("train").rows.tolist())[:2]
    (tmp_path / "out").mkdir()
    predict(tmp_path / "out", model, data, pairs=[pair], num_steps=2)
    with np.load(tmp_path / "out" / "interpolations.npz") as paths, np.load(tmp_path / "a.npz") as source:
        ends = model.reconstruct(torch.from_numpy(source["x"][pair])).detach()
        np.testing.assert_allclose(paths["x"][0], ends, atol=1e-6)
        assert paths["index"].tolist() == [pair]


@pytest.mark.parametrize(
    ("ids", "kwargs", "said"),
    [
        (None, {"pairs": [[0, 40]]}, "pairs: none of the 40 examples has the index 40; they lie in 0 .. 39."),
        (None, {"pairs": [["a", 1]]}, "pairs: the examples have no ids, got 'a': give their index."),
        (["a"] * 40, {"pairs": [["b", 1]]}, "pairs: none of the 40 examples has the id 'b'."),
        (["a"] * 40, {"pairs": [[1, "a"]]}, "pairs: 40 of the examples have the id 'a'."),
        (None, {"num_neighbours": 40}, "num_neighbours must be below the 40 examples, got 40."),
    ],
)
def test_examples_that_there_are_not(ids: Any, kwargs: Any, said: str, tmp_path: Path) -> None:
    data = numbered(tmp_path, **({} if ids is None else {"ids": ids}))
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        predict(tmp_path, tiny(VAE, shape=(5,)), data, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"pairs": [3, 17]}, "pairs must be pairs of ids or index numbers, such as [[3, 17]], got [3, 17]."),
        ({"pairs": [[3, 17, 4]]}, "pairs must be pairs of ids or index numbers, such as [[3, 17]], got [[3, 17, 4]]."),
        ({"draw": "both"}, "draw must be mean or sample, got 'both'."),
        ({"num_neighbours": -1}, "num_neighbours must be at least 0, got -1."),
    ],
)
def test_bad_choices(kwargs: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        PredictionWriter(**kwargs)


def test_a_likelihood_without_draws(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^draw sample: MSSSIM has no density to draw from, only a mean"):
        predict(tmp_path, tiny(VAE, shape=(1, 16, 16), likelihood=MSSSIM), tiny_data(image_size=16), draw="sample")


def test_pairs_of_a_foreign_loader(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^pairs needs a data module or a loader of vae_zoo, got a Batches"):
        predict(tmp_path, tiny(VAE), Batches(torch.rand(4, 1, 8, 8)), pairs=[[0, 1]])


@pytest.mark.parametrize("num", [30, 2500])
def test_nearest_neighbours(num: int) -> None:
    """Against scikit-learn, over several blocks; two equal rows are neighbours of each other."""
    z = np.random.default_rng(0).normal(size=(num, 3)).astype(np.float32)
    z[4] = z[17]
    places, distances = nearest(lambda start, end: z[start:end], num, 5)
    theirs, _ = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(z.astype(np.float64)).kneighbors()
    np.testing.assert_allclose(distances, theirs, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(z[:, None] - z[places], axis=2), distances, atol=1e-5)
    assert (places[4, 0], distances[4, 0]) == (17, 0)
    assert not (places == np.arange(num)[:, None]).any()


def test_neighbours_are_named(tmp_path: Path) -> None:
    names = [f"n{n}" for n in range(40)]
    (tmp_path / "out").mkdir()
    predict(tmp_path / "out", tiny(VAE, shape=(5,)), numbered(tmp_path, ids=names), num_neighbours=2)
    z = load_arrays(tmp_path / "out" / "latents.npz")["z"]
    with np.load(tmp_path / "out" / "neighbours.npz") as found:
        assert found["neighbour_id"].tolist() == [[names[row] for row in rows] for rows in found["neighbour_index"]]
        difference = z[found["index"]][:, None] - z[found["neighbour_index"]]
        np.testing.assert_allclose(np.linalg.norm(difference, axis=2), found["distance"], rtol=1e-5)
    columns = [f"{name}{n}" for name in ("neighbour_id", "neighbour_index", "distance") for n in range(2)]
    assert list(table(tmp_path / "out" / "neighbours.csv")) == ["id", "index", *columns]
