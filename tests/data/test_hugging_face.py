"""Data sets of Hugging Face, written to folders by the package itself, and those in memory."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vae_zoo.data import FromDataset, HuggingFace, Mapped

datasets = pytest.importorskip("datasets")
SPLITS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    datasets.disable_progress_bars()
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def png(level: int, size: tuple[int, int] = (6, 5), mode: str = "L") -> dict[str, Any]:
    file = io.BytesIO()
    Image.new(mode, size, level if mode == "L" else (level, 0, 255 - level)).save(file, "png")
    return {"bytes": file.getvalue(), "path": None}


def images(num: int = 20, **kwargs: Any) -> Any:
    features = {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    features["name"] = datasets.Value("string")
    content = {
        "picture": [png(n, **kwargs) for n in range(num)],
        "kind": [n % 2 for n in range(num)],
        "name": [f"n{n}" for n in range(num)],
    }
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def numbers(num: int = 20) -> Any:
    content = {"a": [float(n) for n in range(num)], "b": [-n for n in range(num)], "c": ["x"] * num}
    return datasets.Dataset.from_dict(content)


@pytest.mark.parametrize("limit", [1.0, 0.0])
def test_images(tmp_path: Path, limit: float) -> None:
    images().save_to_disk(tmp_path / "a")
    data = HuggingFace(path=str(tmp_path / "a"), channels=1, id_key="name", in_memory_limit=limit)
    assert (data.shape, data.num_train, data.num_classes) == ((1, 5, 6), 16, 2)
    assert isinstance(data.load("train").x, Mapped) == (limit == 0)
    seen = []
    for split in SPLITS:
        loaded = data.load(split)
        assert loaded.x[:].dtype == torch.uint8
        assert loaded.x[:][:, 0, 0, 0].tolist() == loaded.rows.tolist()
        assert loaded.y.tolist() == [row % 2 for row in loaded.rows.tolist()]
        assert loaded.ids.tolist() == [f"n{row}" for row in loaded.rows.tolist()]
        seen += loaded.rows.tolist()
    assert sorted(seen) == list(range(20))


def test_splits_of_its_own(tmp_path: Path) -> None:
    parts = {"train": images(8), "validation": images(4)}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "a")
    data = HuggingFace(path=str(tmp_path / "a"), channels=1)
    assert [len(data.load(split).x) for split in SPLITS] == [7, 4, 1]
    assert data.load("val").x[:, 0, 0, 0].tolist() == [0, 1, 2, 3]


def test_colour_and_resized(tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image()})
    content = {"image": [png(n, (8 + n, 12), "RGB") for n in range(9)]}
    datasets.Dataset.from_dict(content, features=features).save_to_disk(tmp_path / "a")
    with pytest.raises(ValueError, match=r"must have one shape: number 0 has \(3, 12, 8\), number 1 \(3, 12, 9\): res"):
        HuggingFace(path=str(tmp_path / "a")).setup()
    loaded = HuggingFace(path=str(tmp_path / "a"), image_size=4).load("train")
    assert loaded.x.shape == (7, 3, 4, 4)
    for x, row in zip(loaded.x, loaded.rows.tolist(), strict=True):
        assert x[:, 0, 0].tolist() == [row, 0, 255 - row]


def test_columns_of_numbers(tmp_path: Path) -> None:
    numbers().save_to_disk(tmp_path / "a")
    loaded = HuggingFace(path=str(tmp_path / "a"), x_key=["a", "b"]).load("train")
    assert torch.equal(loaded.x, torch.stack([loaded.rows, -loaded.rows], 1).float())
    vectors = datasets.Dataset.from_dict({"x": np.eye(9).tolist(), "label": ["u", "v", "w"] * 3})
    vectors.save_to_disk(tmp_path / "b")
    data = HuggingFace(path=str(tmp_path / "b"))
    assert data.classes == ["u", "v", "w"]
    assert torch.equal(data.load("train").x, torch.eye(9)[data.load("train").rows])


def test_in_memory() -> None:
    data = FromDataset(train=images(), label_key="kind", x_key="picture")
    assert data.shape == (1, 5, 6)
    loaded = data.load("train")
    assert loaded.x[:, 0, 0, 0].tolist() == loaded.rows.tolist()
    assert not data.recordable


@pytest.mark.parametrize("path", ["secret.png", "http://127.0.0.1:9/a.png"])
def test_a_file_that_an_image_only_names_is_not_opened(tmp_path: Path, path: str) -> None:
    """The package would read any file or address that a folder of another one names."""
    Image.new("L", (4, 4)).save(tmp_path / "secret.png")
    path = path if "://" in path else str(tmp_path / path)
    content = {"image": [{"bytes": None, "path": path}] * 9}
    plain = {"image": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}}
    datasets.Dataset.from_dict(content, features=datasets.Features(plain)).save_to_disk(tmp_path / "a")
    info = tmp_path / "a" / "dataset_info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "features": {"image": {"_type": "Image"}}}))
    if "://" not in path:
        assert datasets.load_from_disk(str(tmp_path / "a"))[0]["image"].size == (4, 4)
    with pytest.raises(ValueError, match=r"image 0 has no bytes of an image, but names a file: save the data set with"):
        HuggingFace(path=str(tmp_path / "a")).setup()


def folder_of(kind: str, tmp_path: Path) -> str:
    path = tmp_path / kind
    if kind == "images":
        images().save_to_disk(path)
    elif kind == "numbers":
        numbers().save_to_disk(path)
    elif kind == "tests":
        datasets.DatasetDict({"test": numbers()}).save_to_disk(path)
    elif kind == "broken":
        content = {"image": [png(n) if n != 3 else {"bytes": b"no image", "path": None} for n in range(9)]}
        datasets.Dataset.from_dict(content, features=datasets.Features({"image": datasets.Image()})).save_to_disk(path)
    elif kind == "empty":
        path.mkdir()
    return str(path)


@pytest.mark.parametrize(
    ("kind", "kwargs", "error", "said"),
    [
        ("absent", {}, FileNotFoundError, "There is no folder {} of a data set: write one by save_to_disk, or set hub"),
        ("empty", {}, ValueError, "{} is no folder that save_to_disk has written, or damaged: Directory "),
        ("images", {"x_key": "z"}, ValueError, "{} (train) has no column z: there is picture, kind, name."),
        ("images", {"label_key": "z"}, ValueError, "{} (train) has no column z: there is picture, kind, name."),
        ("numbers", {}, ValueError, "{} (train) has several columns: choose the example among a, b, c."),
        ("numbers", {"x_key": ["a", "c"]}, ValueError, "c of {} (train) must be a number, got the text 'x'."),
        ("numbers", {"x_key": "c"}, ValueError, "{} (train), number 0 must be an array of numbers or an image, got"),
        ("tests", {}, ValueError, "{} has no split train: there is test."),
        ("broken", {}, ValueError, "{} (train), image 3 is no image that can be read, or damaged."),
        ("images", {"channels": 2}, ValueError, "channels must be 1, 3 or 4, got 2."),
        ("images", {"image_size": 0}, ValueError, "image_size must be at least 1, got 0."),
    ],
)
def test_mistakes(kind: str, kwargs: dict[str, Any], error: type[Exception], said: str, tmp_path: Path) -> None:
    folder = folder_of(kind, tmp_path)
    with pytest.raises(error, match=f"^{re.escape(said.format(folder))}") as raised:
        HuggingFace(path=folder, **kwargs).setup()
    assert "\n" not in str(raised.value)


def test_the_hub_is_asked_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(name: str) -> None:
        asked.append(name)
        raise ConnectionError(f"Couldn't reach {name} on the Hub\nand so on")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        HuggingFace(path="someone/pictures").setup()
    assert asked == []
    with pytest.raises(FileNotFoundError, match=r"^The data set someone/pictures cannot be downloaded: Couldn't reach"):
        HuggingFace(path="someone/pictures", hub=True).setup()
    assert asked == ["someone/pictures"]
