"""Every example can be traced to the row that it came from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_data
from PIL import Image

from vae_zoo.data import Arrays, DataModule, Digits, ImageFolder, Split
from vae_zoo.data.base.splits import SplitName

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")


class Given(DataModule):
    """A split that a test gives it."""

    def __init__(self, *, split: Split) -> None:
        super().__init__()
        self.split = split

    def dataset(self, split: SplitName) -> Split:
        return self.split


def test_splits_of_one_source_know_their_rows() -> None:
    from sklearn.datasets import load_digits

    source, data = load_digits(), Digits()
    rows = []
    for split in SPLITS:
        loaded = data.load(split)
        assert loaded.rows is not None
        again = torch.from_numpy(source.images)[loaded.rows].mul(255 / 16).round()
        assert torch.equal(again, loaded.x[:, 0].double())
        rows += loaded.rows.tolist()
    assert sorted(rows) == list(range(1797))


def test_rows_of_sprites_are_their_combinations() -> None:
    data = tiny_data()
    loaded = data.load("val")
    factors = torch.stack(torch.unravel_index(loaded.rows, data.factor_sizes), 1)
    assert torch.equal(factors, loaded.factors)


def test_a_loader_knows_them_too() -> None:
    ids = np.array(["a", "b", "c"])
    loader = Given(split=Split(torch.rand(3, 2), rows=torch.tensor([7, 5, 6]), ids=ids)).predict_dataloader()
    assert loader.rows.tolist() == [7, 5, 6]
    assert loader.ids.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"ids": ["a", "b"]}, "ids of Given.dataset('train') must be a numpy array of strings or integers, got list."),
        (
            {"ids": np.zeros(2)},
            "ids of Given.dataset('train') must be a numpy array of strings or integers, got float64.",
        ),
        ({"ids": np.arange(3)}, "There are 3 ids for 2 examples in the train split of Given."),
        ({"rows": torch.arange(3)}, "There are 3 row numbers for 2 examples in the train split of Given."),
        ({"rows": torch.zeros(2)}, "rows of the train split of Given must be whole numbers, (N,), got torch.float32."),
    ],
)
def test_bad_identities(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Given(split=Split(torch.rand(2, 3), **kwargs)).load("train")


def joined(data: Any, source: dict[str, int]) -> list[int]:
    """Rows of all splits, each example being the number of its row, and its id the one of the source."""
    rows = []
    for split in SPLITS:
        loaded = data.load(split)
        assert loaded.x.flatten(1)[:, 0].tolist() == loaded.rows.tolist()
        assert [source[str(name)] for name in loaded.ids] == loaded.rows.tolist()
        rows += loaded.rows.tolist()
    return sorted(rows)


X = np.stack([np.arange(20), np.zeros(20)], 1)


@pytest.mark.parametrize("kind", ["csv", "npz", "pt"])
@pytest.mark.parametrize("number", [False, True])
def test_arrays(tmp_path: Path, kind: str, number: bool) -> None:
    names = [100 - n if number else f"s{n:03}" for n in range(20)]
    path, given = tmp_path / f"a.{kind}", {}
    if kind == "csv":
        lines = ["name,value,zero", *(f"{name},{n},0" for n, name in enumerate(names))]
        path.write_text("\n".join(lines))
        given = {"id_column": "name"}
    elif kind == "npz":
        np.savez(path, x=X, ids=names)
    else:
        torch.save({"x": torch.tensor(X), "ids": torch.tensor(names) if number else names}, path)
    data = Arrays(path=str(path), **given)
    assert joined(data, {str(name): n for n, name in enumerate(names)}) == list(range(20))
    assert data.load("test").ids.dtype.kind == ("i" if number else "U")


def test_ids_under_another_key_and_of_a_file_of_its_own(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, name=np.arange(20) + 5)
    np.savez(tmp_path / "b.npz", x=X[:3], name=[b"u", b"v", b"w"])
    data = Arrays(path=str(tmp_path / "a.npz"), test_path=str(tmp_path / "b.npz"), key="x", id_key="name")
    test, val = data.load("test"), data.load("val")
    assert test.rows is None
    assert test.ids.tolist() == ["u", "v", "w"]
    assert val.ids.tolist() == (val.rows + 5).tolist()


def test_zeros_in_front_of_an_id_are_kept(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(f"{n:03},{n}" for n in range(20)))
    assert "007" in Arrays(path=str(tmp_path / "a.csv"), id_column="0").load("train").ids


@pytest.mark.parametrize("explicit", [False, True])
def test_image_folder(tmp_path: Path, explicit: bool) -> None:
    """Ids are file names in the folder, rows their positions in its listing."""
    names = [f"{split}/{n}.png" for split in ("test", "train") for n in range(10)] if explicit else []
    names = names or [f"{kind}/{n}.png" for kind in ("ant", "bee") for n in range(10)]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (4, 4), number).save(tmp_path / name)
    data = ImageFolder(folder=f"{tmp_path}/", image_size=4, channels=1)
    assert joined(data, {name: n for n, name in enumerate(sorted(names))}) == list(range(20))
    assert data.load("test").ids[0].split("/")[0] in (("test",) if explicit else ("ant", "bee"))


@pytest.mark.parametrize(
    ("arrays", "given", "message"),
    [
        ({"x": X}, {"id_key": "name"}, "has no name: its keys are x."),
        (
            {"x": X, "ids": np.arange(3)},
            {},
            "must be names or whole numbers of the shape (20,), one an example, got int64 of shape (3,).",
        ),
        ({"x": X, "ids": np.zeros(20)}, {}, "must be names or whole numbers of the shape (20,), one an example, got f"),
    ],
)
def test_bad_ids(tmp_path: Path, arrays: dict[str, Any], given: dict[str, str], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=re.escape(message)):
        Arrays(path=str(tmp_path / "a.npz"), **given).load("train")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"id_column": "nome"}, "has no column nome: its first line is name, a, b."),
        (
            {"id_column": "name", "label_column": "name"},
            "label_column and id_column are both column name of .*: give two columns.",
        ),
        ({"id_column": "name"}, r"1 values in .* are not finite, the first at index \(2, 1\) \(line 5, id u\)."),
    ],
)
def test_csv_rows_are_named_as_their_owner_counts_them(tmp_path: Path, given: dict[str, str], message: str) -> None:
    (tmp_path / "a.csv").write_text("name,a,b\ns,1,2\n\nt,3,4\nu,5,inf\n" + "v,7,8\n" * 9)
    with pytest.raises(ValueError, match=message):
        Arrays(path=str(tmp_path / "a.csv"), **given).load("train")


def test_all_splits_one_after_another() -> None:
    """In the order of the source, each example with the key that it has in its own split."""
    data = Digits(eval_batch_size=70)
    data.predict_split = "test"
    own = {
        int(row): (batch.key, x)
        for batch in data.predict_dataloader()
        for row, x in zip(data.load("test").rows[batch.index], batch.x, strict=True)
    }
    data.predict_split = "all"
    data.setup("predict")
    loader = data.predict_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader)
    index = torch.cat([batch.index for batch in batches])
    assert sorted(index.tolist()) == list(range(1797)) == loader.rows.tolist()
    for batch in batches:
        for row, x in zip(batch.index.tolist(), batch.x, strict=True):
            assert row not in own or (own[row][0] == batch.key and torch.equal(own[row][1], x))
    row = next(iter(own))
    assert torch.equal(loader.take(torch.tensor([row])).x[0], own[row][1])


def test_the_training_split_is_predicted_in_order() -> None:
    data = Digits()
    data.predict_split = "train"
    assert torch.cat([batch.index for batch in data.predict_dataloader()]).tolist() == list(range(1397))


def test_the_whole_of_one_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X[:2], ids=["u", "v"])
    data = Arrays(path=str(tmp_path / "a.npz"))
    assert (data.num_rows, data.num_train) == (2, 0)
    data.predict_split = "all"
    data.setup("predict")
    loader = data.predict_dataloader()
    assert torch.equal(loader.x, torch.tensor(X[:2]).float())
    assert loader.ids.tolist() == ["u", "v"]


def test_unknown_predict_split() -> None:
    data = Digits()
    data.predict_split = "some"  # type: ignore[assignment]
    with pytest.raises(ValueError, match=r"^predict_split must be all, train, val or test, got 'some'\.$"):
        data.setup("predict")
