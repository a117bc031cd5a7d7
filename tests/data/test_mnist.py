from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_zoo.data import MNIST, FashionMNIST
from vae_zoo.data.base.paths import data_root
from vae_zoo.data.datasets import mnist


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def write(folder: Path, num_train: int = 60, num_test: int = 10) -> None:
    """The four idx files, with few images, the first pixel of each its number."""
    folder.mkdir(parents=True)
    for part, num in (("train", num_train), ("t10k", num_test)):
        images = np.zeros((num, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(num)
        header = np.array([0x803, num, 28, 28], ">i4").tobytes()
        (folder / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = (np.arange(num) % 10).astype(np.uint8)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(np.array([0x801, num], ">i4").tobytes() + labels.tobytes())


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("MNIST", "FashionMNIST"):
        write(tmp_path / name / "raw")
    monkeypatch.setattr(mnist, "_NUM_IMAGES", 60)
    return tmp_path


@pytest.mark.parametrize("cls", [MNIST, FashionMNIST])
def test_splits(cls: type[MNIST], root: Path) -> None:
    data = cls(root=str(root), num_val=20, binarization="none")
    data.prepare_data()
    assert data.num_train == 40
    numbers = {split: data.load(split).x[:, 0, 0, 0].tolist() for split in ("train", "val", "test")}
    assert numbers == {"train": [*range(40)], "val": [*range(40, 60)], "test": [*range(10)]}
    assert torch.equal(data.load("val").y, torch.arange(40, 60) % 10)


def test_known_before_reading() -> None:
    data = MNIST(root="/nowhere", num_val=400)
    assert (data.shape, data.num_train, data.num_classes) == ((1, 28, 28), 59_600, 10)
    assert data.binarization == "dynamic"
    assert MNIST(root="/nowhere").num_train == 50_000


def test_root_of_the_environment(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAE_ZOO_DATA", str(root))
    assert len(MNIST(num_val=1).load("train").x) == 59


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        MNIST(root=str(tmp_path / "data" / "sets")).setup("fit")
    message = str(error.value)
    there = tmp_path / "data" / "sets" / "MNIST" / "raw"
    assert message.startswith(f"MNIST cannot be downloaded: put its four idx files into {there}, or set VAE_ZOO_DATA")
    assert len(message.replace(str(there), "")) < 120  # the command cuts its line at 200
    assert not list(tmp_path.iterdir())


def test_nothing_there_but_a_folder(tmp_path: Path) -> None:
    (tmp_path / "MNIST").mkdir()
    with pytest.raises(FileNotFoundError):
        MNIST(root=str(tmp_path)).prepare_data()
    assert list(tmp_path.rglob("*")) == [tmp_path / "MNIST"]


def test_one_file_missing(root: Path) -> None:
    (root / "MNIST" / "raw" / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError, match=r"^MNIST cannot be downloaded: put train-labels-idx1-ubyte into "):
        MNIST(root=str(root), num_val=1).setup("fit")
    assert (root / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file()


def test_truncated_file(root: Path) -> None:
    path = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"^A file in [^\n]*MNIST/raw is truncated or corrupt: [^\n]*$"):
        MNIST(root=str(root), num_val=1).setup("fit")


def test_empty_file(root: Path) -> None:
    (root / "MNIST" / "raw" / "train-labels-idx1-ubyte").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^A file in [^\n]*MNIST/raw is truncated or corrupt: [^\n]*$"):
        MNIST(root=str(root), num_val=1).setup("fit")


def test_too_few_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "_NUM_IMAGES", 61)
    with pytest.raises(ValueError, match=r"raw must have 61 training images, got 60\.$"):
        MNIST(root=str(root), num_val=1).setup("fit")


@pytest.mark.parametrize("num_val", [0, 60_000])
def test_bad_num_val(num_val: int) -> None:
    with pytest.raises(ValueError, match=rf"^num_val must be .*, got {num_val}\.$"):
        MNIST(num_val=num_val)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.skipif("VAE_ZOO_DATA" not in os.environ, reason="VAE_ZOO_DATA says where the real files are")
def test_real_files() -> None:
    if not (data_root() / "MNIST").is_dir():
        pytest.skip("VAE_ZOO_DATA has no MNIST")
    data = MNIST()
    data.setup()
    train, val, test = (data.load(split) for split in ("train", "val", "test"))
    assert [len(split.x) for split in (train, val, test)] == [50_000, 10_000, 10_000]
    assert (torch.cat([train.y, val.y]) == 0).sum() == 5923
    assert abs(train.x.float().mean() / 255 - 0.1307) < 0.001
    assert val.x.unique().tolist() == test.x.unique().tolist() == [0, 255]
