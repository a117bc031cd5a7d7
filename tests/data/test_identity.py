"""Every example can be traced to the row that it came from."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from helpers import tiny_data

from vae_zoo.data import DataModule, Digits, Split
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
