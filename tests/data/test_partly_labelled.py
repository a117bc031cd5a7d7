"""Data of which some labels are unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from helpers import quiet_trainer
from PIL import Image

from vae_zoo.callbacks import Anomaly, Fidelity, Probes
from vae_zoo.data import Arrays, DataModule, Digits, ImageFolder, Split, Table
from vae_zoo.data.base.labels import unknown
from vae_zoo.distributions import SharedNormal
from vae_zoo.models import M2, VAE, ConditionalVAE

NUM = 60


def array_file(folder: Path, y: Any) -> str:
    """A file of images with labels."""
    x = np.random.default_rng(0).random((NUM, 1, 8, 8), dtype=np.float32)
    np.savez(folder / "a.npz", x=x, y=np.array(y))
    return str(folder / "a.npz")


def labels_of(data: DataModule) -> dict[int, int]:
    """How often each number occurs in all splits."""
    y = torch.cat([data.load(split).y for split in ("train", "val", "test")])  # type: ignore[misc]
    return dict(zip(*(found.tolist() for found in y.unique(return_counts=True)), strict=True))


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        ([0, -1, 4], [0, 4]),
        ([0.0, -1.0, 4.0], [0.0, 4.0]),
        ([0.0, np.nan, 4.0], [0.0, 4.0]),
        (["a", "", "b"], ["a", "b"]),
        (["1", "-1", "2"], ["1", "2"]),
        ([1, -1, 1], [1]),
    ],
)
def test_what_is_unknown(tmp_path: Path, y: list[Any], classes: list[Any]) -> None:
    path = array_file(tmp_path, y * (NUM // 3))
    data = Arrays(path=path, label_key="y", partly_labelled=True)
    assert data.classes == classes
    assert data.num_classes == len(classes)
    assert labels_of(data)[-1] == NUM // 3
    assert data.num_labelled == int((data.load("train").y >= 0).sum()) < data.num_train  # type: ignore[operator]
    if len(classes) > 1:
        with pytest.raises(ValueError, match=r"20 of 60 labels .* with partly_labelled true they are unknown"):
            Arrays(path=path, label_key="y").load("train")


def test_labels_that_are_known_stay() -> None:
    assert not unknown(np.array(["-1", "wide"])).any(), "names, one of which looks like a number"
    assert not unknown(np.array([True, False])).any()
    assert unknown(np.array(["", " ", "3", "-2", "nan"])).tolist() == [True, True, False, True, True]


def test_all_unknown(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"all 60 labels in .* are unknown: leave partly_labelled and the labels out"):
        Arrays(path=array_file(tmp_path, [-1] * NUM), label_key="y", partly_labelled=True).load("train")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table(tmp_path: Path, suffix: str) -> None:
    frame = pandas.DataFrame({"n": np.arange(60.0), "kind": ["b", None, "a"] * 20})
    path = tmp_path / f"t{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    data = Table(path=str(path), label_column="kind", partly_labelled=True)
    assert data.classes == ["a", "b"]
    assert labels_of(data) == {-1: 20, 0: 20, 1: 20}
    with pytest.raises(ValueError, match="are no class"):
        Table(path=str(path), label_column="kind").load("train")


def test_images_beside_the_folders_of_classes(tmp_path: Path) -> None:
    for place in (".", "good", "odd"):
        (tmp_path / place).mkdir(exist_ok=True)
        for n in range(10):
            Image.new("L", (8, 8), 20 * n).save(tmp_path / place / f"{n}.png")
    data = ImageFolder(folder=str(tmp_path), image_size=8, channels=1, cache=False, partly_labelled=True)
    assert data.classes == ["good", "odd"]
    assert labels_of(data) == {-1: 10, 0: 10, 1: 10}


def test_labels_are_hidden_among_the_known_ones(tmp_path: Path) -> None:
    path = array_file(tmp_path, [0, -1, 1] * (NUM // 3))
    whole = Arrays(path=path, label_key="y", partly_labelled=True).load("train").y
    data = Arrays(path=path, label_key="y", partly_labelled=True, num_labels=6)
    y = data.load("train").y
    assert y is not None
    assert torch.bincount(y[y >= 0]).tolist() == [3, 3]
    assert torch.equal(y[y >= 0], whole[y >= 0])  # type: ignore[index]
    with pytest.raises(ValueError, match=r"num_labels must lie in 2 \.\. \d\d for"):
        Arrays(path=path, label_key="y", partly_labelled=True, num_labels=45).load("train")


class Some(Digits):
    """Digits of which every other has no label, in all splits."""

    def dataset(self, split: Any) -> Split:
        given = super().dataset(split)
        return given._replace(y=torch.where(torch.arange(len(given.x)) % 2 == 0, given.y, -1))


def test_a_fit_and_its_metrics(tmp_path: Path) -> None:
    data = Some(partly_labelled=True)
    model = M2(
        shape=data.shape,
        num_classes=10,
        num_train=data.num_train,
        num_labelled=data.num_labelled,
        likelihood=SharedNormal,
    )
    evaluated = [Fidelity(num_samples=200), Probes(num_train=300), Anomaly(normal_classes=[0, 1, 2], num_samples=2)]
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=evaluated)
    trainer.fit(model, data)
    (found,) = trainer.test(model, data, verbose=False)
    assert found["test/accuracy"] > 0.3
    assert found["test/knn_probe"] > 0.3
    assert 0 <= found["test/anomaly_auroc[elbo]"] <= 1
    assert any(name.startswith("test/fid") for name in found)


def test_models_that_need_no_labels_and_those_that_need_all(tmp_path: Path) -> None:
    quiet_trainer(tmp_path, max_steps=2, max_epochs=-1).fit(VAE(shape=(1, 8, 8)), Some(partly_labelled=True))
    with pytest.raises(ValueError, match=r"got -1 to \d: -1 is an unknown label, for semi-supervised models"):
        quiet_trainer(tmp_path, max_steps=2, max_epochs=-1).fit(
            ConditionalVAE(shape=(1, 8, 8), num_classes=10), Some(partly_labelled=True)
        )
    with pytest.raises(
        ValueError, match=r"must lie in 0 \.\. 9, got -1 \.\. 9: with partly_labelled true they are unknown"
    ):
        Some().load("train")
