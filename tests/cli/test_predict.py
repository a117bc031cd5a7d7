"""``vae-zoo predict`` of the data of a model, and of new data."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from helpers import saved, tiny
from PIL import Image
from short import few

from vae_zoo.data import Arrays, Counts, DataModule, Digits, ImageFolder, Table
from vae_zoo.distributions import FixedNormal
from vae_zoo.evaluation import p_values
from vae_zoo.models import VAE, ConditionalVAE

from .conftest import Outcome

Run = Callable[..., Outcome]
FEW = ("--predictions.num_samples=0", "--predictions.num_paths=0", "--predictions.num_dims=0")


def vectors(name: str, num: int, **arrays: np.ndarray) -> np.ndarray:
    x = np.random.default_rng(num).normal(size=(num, 5)).astype(np.float32)
    np.savez(name, x=x, **arrays)
    return x


def trained(data: DataModule, cls: type = VAE, **kwargs: object) -> str:
    """A checkpoint of a model of some data, which no fit has touched."""
    model = tiny(cls, **{"shape": data.shape, "likelihood": FixedNormal, **kwargs})
    return str(saved(Path.cwd(), model, data))


def rows(out: Outcome, file: str = "latents") -> dict[str, np.ndarray]:
    assert out.code == 0, out.err
    (path,) = (Path(line.split()[-1]) for line in out.out.splitlines() if line.split()[0] == f"{file}.npz")
    with np.load(path) as found:
        return dict(found)


def test_the_test_split_of_the_training_data(run: Run) -> None:
    vectors("a.npz", 40)
    data = Arrays(path="a.npz", test_fraction=0.25)
    out = run("predict", "--ckpt_path", trained(data), *FEW)
    assert rows(out)["index"].tolist() == data.load("test").rows.tolist()
    assert "predict: 10 of 40 examples, split test" in out.err


@pytest.mark.exhaustive
@pytest.mark.parametrize(("split", "num"), few([("all", 40), ("train", 32), ("val", 4)], 1))
def test_other_splits(run: Run, split: str, num: int) -> None:
    x = vectors("a.npz", 40, ids=np.arange(100, 140))
    out = run("predict", "--ckpt_path", trained(Arrays(path="a.npz")), f"--split={split}", *FEW)
    found = rows(out, "reconstructions")
    assert f"predict: {num} of 40 examples, split {split}" in out.err
    assert len(set(found["index"].tolist())) == num
    np.testing.assert_array_equal(found["x"], x[found["index"]])
    np.testing.assert_array_equal(found["id"], found["index"] + 100)


@pytest.mark.parametrize("num", few([1, 2, 50], 1))
def test_every_row_of_a_new_file(run: Run, num: int) -> None:
    vectors("a.npz", 40)
    x = vectors("new.npz", num)
    path = trained(Arrays(path="a.npz"))
    out = run("predict", "--ckpt_path", path, "--data.path", "new.npz", *FEW)
    found = rows(out, "reconstructions")
    assert f"predict: {num} of {num} examples, split all" in out.err
    np.testing.assert_array_equal(found["index"], np.arange(num))
    np.testing.assert_array_equal(found["x"], x)


@pytest.mark.exhaustive
def test_a_split_of_a_new_file(run: Run) -> None:
    vectors("a.npz", 40)
    vectors("new.npz", 50)
    path = trained(Arrays(path="a.npz"))
    out = run("predict", "--ckpt_path", path, "--data.path", "new.npz", "--split", "val", *FEW)
    assert "predict: 5 of 50 examples, split val" in out.err


@pytest.mark.exhaustive
def test_the_same_file_by_another_path(run: Run) -> None:
    vectors("a.npz", 40)
    path = trained(Arrays(path="a.npz"))
    out = run("predict", "--ckpt_path", path, "--data.path", str(Path("a.npz").resolve()), *FEW)
    assert "predict: 4 of 40 examples, split test" in out.err


@pytest.mark.exhaustive
def test_a_new_test_file_is_the_test_split(run: Run) -> None:
    vectors("a.npz", 40)
    x = vectors("new.npz", 50)
    path = trained(Arrays(path="a.npz"))
    out = run("predict", "--ckpt_path", path, "--data.test_path", "new.npz", *FEW)
    np.testing.assert_array_equal(rows(out, "reconstructions")["x"], x)
    out = run("predict", "--ckpt_path", path, "--data.test_path", "new.npz", "--split", "all", *FEW)
    found = rows(out)
    assert len(found["index"]) == 90, "rows of both files"
    assert set(zip(found["split"], found["index"], strict=True)) >= {("test", 0), ("train", 0)}
    assert (found["split"] == "test").sum() == 50


def pictures(folder: str, num: int) -> None:
    Path(folder).mkdir(parents=True)
    for number in range(num):
        Image.new("L", (8, 8), 255 * number // num).save(f"{folder}/{number}.png")


@pytest.mark.exhaustive
@pytest.mark.parametrize("folder", ["new", "new/test"])
def test_every_image_of_a_new_folder(run: Run, folder: str) -> None:
    pictures("old", 12)
    pictures(folder, 50)
    path = trained(ImageFolder(folder="old", image_size=8, channels=1))
    out = run("predict", "--ckpt_path", path, "--data.folder", "new", *FEW)
    found = rows(out)
    assert "predict: 50 of 50 examples, split all" in out.err
    start = folder[4:] + "/" if folder[4:] else ""
    assert found["id"].tolist() == sorted(f"{start}{number}.png" for number in range(50))
    np.testing.assert_array_equal(found["index"], np.arange(50))


@pytest.mark.exhaustive
def test_all_digits_in_their_order(run: Run) -> None:
    out = run("predict", "--ckpt_path", trained(Digits()), "--split", "all", *FEW)
    np.testing.assert_array_equal(rows(out)["index"], np.arange(1797))
    assert "predict: 1797 of 1797 examples, split all" in out.err


@pytest.mark.exhaustive
def test_a_conditional_model_keeps_its_classes(run: Run) -> None:
    """New data that lack one of three number the others as the training does; a fourth is refused."""
    vectors("a.npz", 40, y=np.array(["ant", "bee", "cat"])[np.arange(40) % 3])
    vectors("new.npz", 10, y=np.array(["bee", "cat"])[np.arange(10) % 2])
    vectors("other.npz", 11, y=np.array(["bee", "dog"])[np.arange(11) % 2])
    path = trained(Arrays(path="a.npz"), ConditionalVAE, num_classes=3)
    out = run("predict", "--ckpt_path", path, "--data.path", "new.npz", *FEW)
    assert rows(out)["y"].tolist() == (np.arange(10) % 2 + 1).tolist()
    out = run("predict", "--ckpt_path", path, "--data.path", "other.npz", *FEW)
    said = "labels in other.npz must be classes of the training, 'ant', 'bee', 'cat', got 'dog': "
    said += "leave it out, or give a file without labels."
    assert (out.code, out.err.splitlines()[-1]) == (2, f"vae-zoo: error: {said}")


@pytest.mark.exhaustive
def test_folders_keep_the_classes_of_the_training(run: Run) -> None:
    for name in ("old/ant", "old/bee", "old/cat", "new/bee", "new/cat"):
        pictures(name, 6)
    path = trained(ImageFolder(folder="old", image_size=8, channels=1), ConditionalVAE, num_classes=3)
    out = run("predict", "--ckpt_path", path, "--data.folder", "new", *FEW)
    found = rows(out)
    assert [("ant", "bee", "cat")[y] for y in found["y"]] == [name.split("/")[0] for name in found["id"]]


@pytest.mark.exhaustive
def test_every_row_of_new_counts(run: Run) -> None:
    for name, num in (("a", 60), ("new", 5)):
        np.save(f"{name}.npy", np.random.default_rng(num).poisson(2, (num, 5)))
    path = trained(Counts(path="a.npy"), likelihood=None)
    out = run("predict", "--ckpt_path", path, "--data.path", "new.npy", "--model.likelihood", "FixedNormal", *FEW)
    assert "predict: 5 of 5 examples, split all" in out.err


@pytest.mark.parametrize(
    ("args", "said"),
    few(
        [
            (["--split", "some"], "--split must be one of all, train, val, test, got some."),
            (["--data.folder", "empty"], "There are no images in empty: "),
            (["--data.folder", "none"], "There is no folder none."),
            (["--data.folder", "new", "--split", "val"], "There is no val split in new, which has only test."),
        ],
        1,
    ),
)
def test_mistakes(run: Run, args: list[str], said: str) -> None:
    pictures("old", 12)
    pictures("new/test", 3)
    Path("empty").mkdir()
    path = trained(ImageFolder(folder="old", image_size=8, channels=1))
    out = run("predict", "--ckpt_path", path, *args)
    assert out.code == 2
    assert out.err.splitlines()[-1].startswith(f"vae-zoo: error: {said}")
    assert "Traceback" not in out.err


@pytest.mark.exhaustive
def test_chosen_examples_and_draws(run: Run) -> None:
    """What the options of the command say arrives, also under the short name of one of them."""
    vectors("a.npz", 40, ids=np.array([f"n{n}" for n in range(40)]))
    path = trained(Arrays(path="a.npz"), likelihood=partial(FixedNormal, scale=0.3))
    args = ["--split", "all", "--predictions.pairs", "[[3, 17], [n39, 0]]", "--predictions.num_neighbours", "2"]
    out = run("predict", "--ckpt_path", path, *args, "--draw", "sample")
    assert rows(out, "interpolations")["index"].tolist() == [[3, 17], [39, 0]]
    assert rows(out, "neighbours")["neighbour_id"].shape == (40, 2)
    drawn = rows(out, "reconstructions")["reconstruction"]
    mean = rows(run("predict", "--ckpt_path", path, "--split", "all", *FEW), "reconstructions")["reconstruction"]
    assert abs((drawn - mean).std() - 0.3) < 0.05


@pytest.mark.parametrize(
    ("args", "said"),
    few(
        [
            (["--predictions.pairs", "[[99, 40]]"], "pairs: none of the 4 examples has the index 99; they lie in "),
            (["--predictions.num_neighbours", "4"], "num_neighbours must be below the 4 examples, got 4."),
            (
                ["--predictions.table", "parquet"],
                "table parquet needs pyarrow: pip install 'vae_zoo[table]', or choose csv.",
            ),
            (["--draw", "both"], "predictions.draw: expected 'mean' or 'sample', got both"),
        ],
        1,
    ),
)
def test_mistakes_about_predictions(run: Run, monkeypatch: pytest.MonkeyPatch, args: list[str], said: str) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    vectors("a.npz", 40)
    out = run("predict", "--ckpt_path", trained(Arrays(path="a.npz")), *args)
    assert out.code == 2
    assert out.err.splitlines()[-1].startswith(f"vae-zoo: error: {said}")


@pytest.mark.exhaustive
def test_new_data_are_compared_with_the_validation_data_of_the_training(run: Run) -> None:
    vectors("a.npz", 400)
    path = trained(Arrays(path="a.npz"))
    vectors("new.npz", 3)
    args = ["--data.path", "new.npz", "--predictions.calibrate", "val", "--predictions.false_alarms", "0.1"]
    out = run("predict", "--ckpt_path", path, *args, *FEW)
    found = rows(out, "scores")
    reference = rows(run("predict", "--ckpt_path", path, "--split", "val", *FEW), "scores")["elbo"]
    np.testing.assert_array_equal(found["p_value"], p_values(found["elbo"], reference))
    out = run(
        "predict", "--ckpt_path", path, "--data.path", "a.npz", "--predictions.calibrate", "val", "--split", "all"
    )
    assert (out.code, "got split all of the same data" in out.err) == (2, True)


@pytest.mark.exhaustive
def test_a_checkpoint_that_names_no_data(run: Run) -> None:
    vectors("a.npz", 40)
    path = str(saved(Path.cwd(), tiny(VAE, shape=(5,), likelihood=FixedNormal)))
    args = ["--data", "Arrays", "--data.path", "a.npz"]
    out = run("predict", "--ckpt_path", path, *args, *FEW)
    assert "predict: 40 of 40 examples, split all" in out.err
    out = run("predict", "--ckpt_path", path, *args, "--predictions.calibrate", "val")
    assert (out.code, "calibrate needs the validation data of the training, which" in out.err) == (2, True)


@pytest.mark.exhaustive
def test_new_rows_without_labels(run: Run) -> None:
    x = [",".join(map(str, row)) for row in np.random.default_rng(0).normal(size=(40, 5))]
    Path("new.csv").write_text("\n".join(["a,b,c,d,e", *x]))
    labelled = [f"{row},{kind}" for row, kind in zip(x, "uv" * 20, strict=True)]
    Path("a.csv").write_text("\n".join(["a,b,c,d,e,kind", *labelled]))
    path = trained(Arrays(path="a.csv", label_column="kind"))
    out = run("predict", "--ckpt_path", path, "--data.path", "new.csv", "--data.label_column", "null", *FEW)
    assert "y" not in rows(out)
    assert "predict: 40 of 40 examples, split all" in out.err


@pytest.mark.exhaustive
def test_tables_are_compared_with_their_validation_rows(run: Run) -> None:
    pytest.importorskip("pandas")
    for name, num in (("a", 400), ("new", 3)):
        random = np.random.default_rng(num)
        lines = [f"r{n},{random.normal():.3f},{random.normal():.3f},{'xyz'[n % 3]}" for n in range(num)]
        Path(f"{name}.csv").write_text("\n".join(["who,a,b,kind", *lines]))
    data = Table(path="a.csv", id_column="who", label_column="kind")
    fit = ["--model.latent_dim", "2", "--trainer.max_epochs", "1", "--trainer.enable_progress_bar", "false"]
    given = ["--data", "Table", "--data.path", "a.csv", "--data.id_column", "who", "--data.label_column", "kind"]
    assert run("fit", "--model", "MLPVAE", *given, *fit).code == 0
    path = next(iter(Path("results").glob("*/fit_0/checkpoints/last.ckpt")))
    out = run("predict", "--ckpt_path", str(path), "--data.path", "new.csv", "--predictions.calibrate", "val", *FEW)
    found = rows(out, "scores")
    assert found["id"].tolist() == ["r0", "r1", "r2"]
    assert found["y"].tolist() == [data.classes.index(kind) for kind in "xyz"]
    assert bool((found["p_value"] >= 1 / 41).all())


def test_the_help_names_its_own_options(run: Run) -> None:
    out = run("predict", "--help")
    assert "--split NAME" in out.out
    assert "--split NAME" not in run("fit", "--help").out
    assert "calibrate" in run("show", "PredictionWriter").out
