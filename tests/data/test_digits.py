from __future__ import annotations

import torch

from vae_zoo.data import Digits


def test_splits_are_disjoint_and_always_the_same() -> None:
    data = Digits()
    sizes = {split: len(data.load(split).x) for split in ("train", "val", "test")}
    assert sizes == {"train": 1397, "val": 200, "test": 200}
    images = torch.cat([data.load(split).x for split in sizes]).flatten(1)
    assert len(images.unique(dim=0)) == 1797  # no two digits are alike, so none is in two splits
    assert all(torch.equal(data.load(split).x, Digits().load(split).x) for split in sizes)


def test_known_before_reading(monkeypatch) -> None:
    monkeypatch.setattr(Digits, "dataset", None)
    assert (Digits().shape, Digits().num_train, Digits().num_classes) == ((1, 8, 8), 1397, 10)


def test_levels_and_labels() -> None:
    train = Digits().load("train")
    assert train.x.dtype == torch.uint8
    assert train.x.unique().tolist() == [round(level * 255 / 16) for level in range(17)]
    assert train.y is not None
    assert train.y.bincount().min() > 120
