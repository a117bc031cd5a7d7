from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import fit
from jsonargparse import ArgumentParser
from lightning.pytorch.loggers import CSVLogger

from vae_zoo.data import MNIST, Arrays, DataModule, Digits, FashionMNIST, ImageFolder, Images, Split, Sprites
from vae_zoo.data.base.splits import SplitName, hide_labels
from vae_zoo.distributions import Bernoulli, OptimalNormal


class Vectors(DataModule):
    """The shortest data module that a user can write."""

    def dataset(self, split: SplitName) -> Split:
        return Split(torch.arange(12.0).reshape(4, 3))


class Given(DataModule):
    """Whatever a test gives it, for every split."""

    def __init__(
        self, *, split: Split, shape: tuple[int, ...] = (3,), classes: int | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.split, self.given_shape, self.classes = split, shape, classes

    @property
    def shape(self) -> tuple[int, ...]:
        return self.given_shape

    @property
    def num_classes(self) -> int | None:
        return self.classes

    def dataset(self, split: SplitName) -> Split:
        return self.split


def test_shortest_data_module() -> None:
    data = Vectors(batch_size=3)
    assert data.shape == (3,)
    assert data.num_train == 4
    assert data.num_classes is None
    assert [len(batch.x) for batch in data.train_dataloader()] == [3, 1]
    batch = next(iter(data.val_dataloader()))
    assert torch.equal(data.on_after_batch_transfer(batch).x, batch.x)


def test_a_name_that_the_model_has_too(tmp_path: Path) -> None:
    """Lightning refuses two values of one hyperparameter as soon as there is a logger; data modules save none."""

    class Named(Sprites):
        def __init__(self, *, latent_dim: int, **kwargs: Any) -> None:
            super().__init__(**kwargs)

    data = Named(latent_dim=9, num_examples=30, image_size=8)
    fit(tmp_path, data=data, logger=CSVLogger(tmp_path), max_epochs=1)
    assert data.recorded()["init_args"]["latent_dim"] == 9


def test_splits_are_read_once_and_as_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    data, read = Vectors(), []
    original = Vectors.dataset
    monkeypatch.setattr(Vectors, "dataset", lambda self, split: read.append(split) or original(self, split))
    data.setup("test")
    data.setup("predict")
    assert read == ["test", "train"]  # the second to tell the shape
    data.setup("fit")
    data.setup(None)
    assert read == ["test", "train", "val"]


def test_arguments_of_the_outermost_constructor_are_recorded() -> None:
    class Fixed(Digits):
        def __init__(self, *, num: int = 1, **kwargs: Any) -> None:
            super().__init__(binarization="static", **kwargs)

    data = Fixed(num=3, batch_size=5)
    for same in (data, copy.deepcopy(data)):
        assert same._init_args == {"num": 3, "batch_size": 5}
    data = pickle.loads(pickle.dumps(Digits(batch_size=5)))
    assert data._init_args == {"batch_size": 5}
    assert data.batch_size == 5


def test_command_line_sees_the_arguments_of_the_base() -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data", required=True)
    config = parser.parse_args(["--data=vae_zoo.data.Arrays", "--data.path=a.npy", "--data.batch_size=7"])
    given = config.data.init_args.as_dict()
    assert given.pop("path") == "a.npy"
    assert given.pop("batch_size") == 7
    assert set(given) > {"binarization", "eval_batch_size", "drop_last"}
    assert Arrays(path="a.npy", **given).eval_batch_size == 256


def test_default_of_eval_batch_size() -> None:
    assert Digits(batch_size=5).eval_batch_size == 256
    assert Digits(batch_size=500).eval_batch_size == 500
    assert Digits(eval_batch_size=3).eval_batch_size == 3


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size"])
@pytest.mark.parametrize("value", [0, -3])
def test_sizes_below_one(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=rf"^{name} must be at least 1, got {value}\.$"):
        Digits(**{name: value})


def test_images_become_float_in_the_unit_interval() -> None:
    data = Given(split=Split(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)), shape=(1, 1, 3))
    batch = next(iter(data.train_dataloader()))
    assert batch.x.dtype == torch.uint8
    x = data.on_after_batch_transfer(batch, 0).x
    assert x.dtype == torch.float32
    assert torch.equal(x.flatten(), torch.tensor([0.0, 0.2, 1.0]))


def test_double_precision_becomes_single() -> None:
    assert Given(split=Split(torch.zeros(2, 3, dtype=torch.float64))).load("train").x.dtype == torch.float32


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (Split(torch.zeros(0, 3)), "There are no examples in the val split of Given."),
        (Split(torch.zeros(2, 4)), "Examples in the val split of Given must have the shape (3,), got (4,)."),
        (
            Split(torch.zeros(2, 3).long()),
            "x in the val split of Given must be uint8 or floating point, got torch.int64.",
        ),
        (
            Split(torch.tensor([[0, 0, 0], [0, NAN, INF]])),
            "2 values in the val split of Given are not finite, the first at index (1, 1); if NaN is a missing "
            "value, set missing to true.",
        ),
        (
            Split(torch.tensor([[INF, 0, 0], [0, 0, -INF]])),
            "2 values in the val split of Given are not finite, the first at index (0, 0).",
        ),
        (
            Split(torch.zeros(2, 3), y=torch.zeros(3).long()),
            "There are 3 labels for 2 examples in the val split of Given.",
        ),
        (
            Split(torch.zeros(2, 3), factors=torch.zeros(3, 2).long()),
            "There are 3 rows of factors for 2 examples in the val split of Given.",
        ),
        (
            Split(torch.zeros(2, 3), y=torch.tensor([0, 2])),
            "Labels in the val split of Given must lie in 0 .. 1, got 0 .. 2.",
        ),
    ],
)
def test_bad_splits(split: Split, message: str) -> None:
    data = Given(split=split, classes=2)
    for _ in range(2):  # not kept after the first time
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            data.load("val")


def test_splits_of_different_shapes() -> None:
    class Uneven(Vectors):
        def dataset(self, split: SplitName) -> Split:
            return Split(torch.zeros(2, 3 if split == "train" else 4))

    with pytest.raises(
        ValueError, match=r"^Examples in the test split of Uneven must have the shape \(3,\), got \(4,\)"
    ):
        Uneven().setup("test")


def test_image_modules_keep_floats_unless_asked() -> None:
    class Floats(Images):
        def dataset(self, split: SplitName) -> Split:
            return Split(torch.rand(2, 1, 2, 2))

    assert Floats().shape == (1, 2, 2)
    with pytest.raises(ValueError, match=r"^binarization 'static' needs uint8 images, got torch\.float32\.$"):
        Floats(binarization="static").setup()


@pytest.mark.parametrize("rank", [0, 1])
def test_rank_of_the_trainer(rank: int) -> None:
    data = Vectors(batch_size=2)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=2, overfit_batches=0)
    assert [batch.index.tolist() for batch in data.val_dataloader()] == [[rank, rank + 2]]
    assert len(data.train_dataloader()) == 1


def test_seed_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for seed in ("1", "2"):
        monkeypatch.setenv("PL_GLOBAL_SEED", seed)
        keys.add(next(iter(Vectors().train_dataloader())).key)
    assert len(keys) == 2


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (torch.rand(9, 4), "must give a Split, Split(x) or Split(x, y), got a Tensor"),
        ((torch.rand(9, 4), None), "must give a Split, Split(x) or Split(x, y), got a tuple"),
        (None, "got a NoneType"),
        (Split(np.zeros((9, 4), "f4")), "x of Mine.dataset('train') must be a tensor, got a ndarray"),
        (Split(torch.rand(9, 4), [0] * 9), "y of Mine.dataset('train') must be a tensor, got a list"),
        (Split(torch.rand(9)), "must be (N, ...), one example a row, got shape (9,)"),
        (Split(torch.rand(9, 4).to_sparse()), "must be dense, got torch.sparse_coo: take x.to_dense()"),
    ],
    ids=["tensor", "tuple", "none", "array", "list of labels", "rank 1", "sparse"],
)
def test_what_is_no_split(given: Any, said: str) -> None:
    class Mine(DataModule):
        def dataset(self, split: str) -> Any:
            return given

    with pytest.raises(ValueError, match=re.escape(said)):
        Mine().setup("fit")


class TestLikelihood:
    """The default of the command follows the data."""

    @pytest.mark.parametrize(
        ("x", "expected"),
        [
            (torch.tensor([0.0, 1.0, 1.0, 0.0]).reshape(4, 1), Bernoulli),
            (torch.tensor([0, 255, 255, 0], dtype=torch.uint8).reshape(4, 1, 1, 1), Bernoulli),
            (torch.tensor([0, 255, 254, 0], dtype=torch.uint8).reshape(4, 1, 1, 1), OptimalNormal),
            (torch.tensor([0.0, 0.5, 1.0, 0.0]).reshape(4, 1, 1, 1), OptimalNormal),
            (torch.tensor([-2.0, 0.5, 1.0, 0.0]).reshape(4, 1, 1, 1), OptimalNormal),
            (torch.tensor([0.0, 200.0, 1.0, 0.0]).reshape(4, 1), OptimalNormal),
            (torch.tensor([0.0, 200.0, 1.0, 0.0]).reshape(4, 1, 1, 1), Bernoulli),  # which refuses them with advice
        ],
    )
    def test_follows_the_values(self, x: torch.Tensor, expected: type) -> None:
        class Given(DataModule):
            def dataset(self, split: str) -> Split:
                del split
                return Split(x)

        assert Given().likelihood is expected

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (Digits(), OptimalNormal),
            (Digits(binarization="threshold"), Bernoulli),
            (MNIST(root="nowhere"), Bernoulli),
            (MNIST(root="nowhere", binarization="none"), OptimalNormal),
            (FashionMNIST(root="nowhere", binarization="none"), OptimalNormal),
            (Sprites(), Bernoulli),
            (ImageFolder(folder="nowhere"), OptimalNormal),
        ],
        ids=lambda value: type(value).__name__,
    )
    def test_of_the_data_sets(self, data: DataModule, expected: type) -> None:
        assert data.likelihood is expected


class TestHiddenLabels:
    def test_as_even_as_the_classes_allow(self) -> None:
        y = torch.tensor([0] * 50 + [1] * 3 + [2] * 50)
        kept = hide_labels(y, 20, 0, "it")
        assert torch.equal(kept[kept >= 0], y[kept >= 0])
        assert sorted(torch.bincount(kept[kept >= 0]).tolist()) == [3, 8, 9]
        assert torch.equal(kept, hide_labels(y, 20, 0, "it"))
        assert not torch.equal(kept, hide_labels(y, 20, 1, "it"))
        assert torch.equal(hide_labels(y, 103, 0, "it"), y)

    def test_only_in_training(self) -> None:
        data, whole = Digits(num_labels=100), Digits()
        y = data.load("train").y
        assert y is not None
        assert torch.bincount(y[y >= 0]).tolist() == [10] * 10
        assert int((y < 0).sum()) == 1297
        assert (data.num_labelled, whole.num_labelled) == (100, 1397)
        assert torch.equal(data.load("val").y, whole.load("val").y)  # type: ignore[arg-type]
        assert data.recorded()["init_args"] == {"num_labels": 100}

    @pytest.mark.parametrize("num", [9, 1398])
    def test_too_few_or_too_many(self, num: int) -> None:
        with pytest.raises(ValueError, match=rf"num_labels must lie in 10 \.\. 1397 for Digits, got {num}"):
            Digits(num_labels=num).load("train")

    def test_without_labels(self) -> None:
        with pytest.raises(ValueError, match="num_labels: it has no labels to keep, got 3"):
            hide_labels(None, 3, 0, "it")
        with pytest.raises(ValueError, match="num_labels must be at least 1, got 0"):
            Digits(num_labels=0)
