"""Map-style data sets: of torch, of torchvision, of a user, with random transforms and without."""

from __future__ import annotations

import random
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import seed_everything
from PIL import Image
from short import few
from torch.utils.data import Dataset, IterableDataset, Subset, TensorDataset
from torchvision import transforms
from torchvision.datasets import FakeData

from vae_zoo.data import FromDataset, Mapped
from vae_zoo.models import VAE

from .test_resume import Recorder, SaveAlways, forget_seed, trainer  # noqa: F401  # a fixture of every test

SPLITS = ("train", "val", "test")


class Items(Dataset):
    """Items that a test gives it."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Any:
        return self.items[index]


class Noisy(Dataset):
    """Draws from every generator that a transform may use."""

    def __init__(self, num: int = 40, size: int = 3) -> None:
        self.num, self.size = num, size

    def __len__(self) -> int:
        return self.num

    def __getitem__(self, index: int) -> torch.Tensor:
        drawn = torch.rand(()), torch.tensor(np.random.rand()), torch.tensor(random.random())
        return torch.stack([torch.tensor(float(index)), *drawn]).float()[: self.size + 1]


def split_items(data: FromDataset) -> list[tuple[torch.Tensor, int | None, int]]:
    """Examples, labels and rows of all splits, by row."""
    found = []
    for split in SPLITS:
        loaded = data.load(split)
        y = loaded.y.tolist() if loaded.y is not None else [None] * len(loaded.x)
        found += list(zip(loaded.x[:], y, loaded.rows.tolist(), strict=True))
    return sorted(found, key=lambda item: item[2])


@pytest.mark.parametrize("limit", [1.0, 0.0])
def test_a_tensor_data_set(limit: float) -> None:
    x, y = torch.rand(50, 5), torch.arange(50) % 3 + 10
    data = FromDataset(train=TensorDataset(x, y), in_memory_limit=limit)
    assert (data.shape, data.num_train, data.num_classes, data.classes) == ((5,), 40, 3, [10, 11, 12])
    assert isinstance(data.load("train").x, Mapped) == (limit == 0)
    again, labels, rows = zip(*split_items(data), strict=True)
    assert torch.equal(torch.stack(again), x)
    assert list(labels) == (y - 10).tolist()
    assert list(rows) == list(range(50))


@pytest.mark.parametrize("limit", few([1.0, 0.0], 1))
def test_of_torchvision(limit: float) -> None:
    make = partial(FakeData, size=30, image_size=(3, 8, 6), num_classes=4)
    plain = FromDataset(train=make(), in_memory_limit=limit)
    assert plain.shape == (3, 8, 6)
    assert plain.load("train").x.dtype == torch.uint8
    scaled = FromDataset(train=make(transform=transforms.ToTensor()), in_memory_limit=limit)
    for (a, b, _), (c, d, _) in zip(split_items(plain), split_items(scaled), strict=True):
        assert torch.equal(a.float() / 255, c)
        assert b == d
    batches = [next(iter(data.val_dataloader())) for data in (plain, scaled)]
    assert torch.equal(*(plain.on_after_batch_transfer(batch).x for batch in batches))


IMAGE = np.arange(48, dtype=np.uint8).reshape(8, 2, 3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (IMAGE, torch.from_numpy(IMAGE).permute(2, 0, 1)),
        (torch.from_numpy(IMAGE).permute(2, 0, 1), torch.from_numpy(IMAGE).permute(2, 0, 1)),
        (Image.fromarray(IMAGE[:3]), torch.from_numpy(IMAGE[:3]).permute(2, 0, 1)),
        (Image.fromarray(IMAGE), torch.from_numpy(IMAGE).permute(2, 0, 1)),
        (Image.fromarray(IMAGE).convert("RGBA"), torch.from_numpy(IMAGE).permute(2, 0, 1)),
        (Image.fromarray(IMAGE[:, :, 0]), torch.from_numpy(IMAGE[:, :, 0])[None]),
        (IMAGE[:, :, 0], torch.from_numpy(IMAGE[:, :, 0])[None]),
        (IMAGE[:, :, 0] > 8, (torch.from_numpy(IMAGE[:, :, 0])[None] > 8).byte() * 255),
        ([1.0, 2.0], torch.tensor([1.0, 2.0])),
        (np.array([1, 2], np.int64), torch.tensor([1.0, 2.0])),
        (torch.tensor([1.0, 2.0], dtype=torch.float64), torch.tensor([1.0, 2.0])),
    ],
)
def test_kinds_of_examples(given: Any, expected: torch.Tensor) -> None:
    for limit in (1.0, 0.0):
        x = FromDataset(train=Items([given] * 9), in_memory_limit=limit).load("train").x[:]
        assert x.dtype == expected.dtype
        assert torch.equal(x[0], expected)


def test_dictionaries() -> None:
    items = [{"image": IMAGE, "label": "ab"[n % 2], "name": f"n{n}", "a": n, "b": -n} for n in range(20)]
    data = FromDataset(train=Items(items), id_key="name")
    assert data.classes == ["a", "b"]
    loaded = data.load("val")
    assert loaded.ids.tolist() == [f"n{row}" for row in loaded.rows.tolist()]
    assert loaded.y.tolist() == [row % 2 for row in loaded.rows.tolist()]
    vectors = FromDataset(train=Items(items), x_key=["a", "b"], label_key="label").load("train")
    assert torch.equal(vectors.x, torch.stack([vectors.rows, -vectors.rows], 1).float())


def test_splits_of_their_own() -> None:
    of = {split: TensorDataset(torch.rand(num, 2)) for split, num in zip(SPLITS, (8, 4, 2), strict=True)}
    data = FromDataset(**of)
    assert [len(data.load(split).x) for split in SPLITS] == [8, 4, 2]
    assert torch.equal(data.load("val").x, of["val"].tensors[0])
    assert len(FromDataset(train=of["train"], test=of["test"]).load("val").x) == 1
    assert Subset(of["train"], [3, 1])[0] is not None
    assert torch.equal(FromDataset(train=Subset(of["train"], [3, 1, 5])).whole().x, of["train"].tensors[0][[3, 1, 5]])


class TestRandomItems:
    def test_training_examples_are_others_in_each_epoch(self) -> None:
        data = FromDataset(train=Noisy(), batch_size=8)
        assert data._tables["train"].x.random
        loader = data.train_dataloader()
        seen = []
        for epoch in (0, 1):
            loader.set_epoch(epoch)
            x = torch.cat([batch.x for batch in loader])
            seen.append(x[x[:, 0].argsort()])
        assert torch.equal(seen[0][:, 0], seen[1][:, 0])
        for column in (1, 2, 3):
            assert not (seen[0][:, column] == seen[1][:, column]).any()
        for split in ("val", "test", "predict"):
            make: Any = getattr(data, f"{split}_dataloader")
            assert torch.equal(*(torch.cat([batch.x for batch in make()]) for _ in range(2)))

    @pytest.mark.slow
    def test_workers_draw_the_same(self) -> None:
        def examples(num_workers: int) -> list[torch.Tensor]:
            return [
                batch.x
                for batch in FromDataset(train=Noisy(), batch_size=8, num_workers=num_workers).train_dataloader()
            ]

        assert all(torch.equal(a, b) for a, b in zip(examples(0), examples(2), strict=True))

    def test_other_draws_of_the_program_stay(self) -> None:
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        expected = torch.rand(()), np.random.rand(), random.random()
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)
        data = FromDataset(train=Noisy())
        next(iter(data.train_dataloader()))
        assert (torch.rand(()), np.random.rand(), random.random()) == expected

    def test_a_resumed_run_has_the_same(self, tmp_path: Path) -> None:
        def run(ckpt_path: Path | None = None, **kwargs: Any) -> Recorder:
            seed_everything(3, verbose=False)
            model = Recorder()
            model.layer = torch.nn.Linear(4, 1)
            data = FromDataset(train=Noisy(), batch_size=8)
            trainer(tmp_path, max_epochs=2, **kwargs).fit(
                model, datamodule=data, ckpt_path=ckpt_path, weights_only=True
            )
            return model

        whole = run(callbacks=[SaveAlways(tmp_path)])
        for step in (2, 6):
            assert run(tmp_path / f"step{step}.ckpt").seen == whole.seen[step:]

    def test_that_it_draws_may_be_said(self) -> None:
        assert not FromDataset(train=Noisy(), random=False)._tables["train"].y
        assert isinstance(FromDataset(train=Noisy(), random=False).load("train").x, torch.Tensor)
        assert isinstance(FromDataset(train=TensorDataset(torch.rand(9, 2)), random=True).load("train").x, Mapped)


def test_binary_images_that_are_fetched() -> None:
    data = FromDataset(train=FakeData(size=20, image_size=(1, 6, 6)), in_memory_limit=0, binarization="threshold")
    assert set(torch.cat([b.x for b in data.train_dataloader()]).unique().tolist()) == {0, 255}


class Stream(IterableDataset):
    def __iter__(self) -> Any:
        yield torch.zeros(2)


VECTORS = [torch.rand(3) for _ in range(9)]
BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (Stream(), {}, TypeError, "must be a map-style data set, with a length and items, got a Stream: write an iterable"),
    (Items([]), {}, ValueError, "There are no examples in Items (train)."),
    (Items([(x, 0, 1) for x in VECTORS]), {}, ValueError, "must give x, (x, y) or a dictionary, got 3 values."),
    (
        Items(["text"] * 9),
        {},
        ValueError,
        "Items (train), number 0 must be an array of numbers or an image, got the text",
    ),
    (Items([*VECTORS, torch.rand(4)]), {}, ValueError, "must have one shape: number 0 has (3,), number 9 (4,): resize"),
    (Items([IMAGE.astype(int)] * 9), {}, ValueError, "number 0 is of int64: give uint8 if it lies in 0 .. 255"),
    (
        Items([(x, x) for x in VECTORS]),
        {},
        ValueError,
        "must be classes, got Tensor of torch.float32: set labels to false",
    ),
    (Items([(x, 0.5) for x in VECTORS]), {}, ValueError, "classes, whole numbers or names, got float64: set labels to"),
    (Items([(x, None if n == 4 else 1) for n, x in enumerate(VECTORS)]), {}, ValueError, "has no label for number 4"),
    (Items(VECTORS), {"x_key": "a"}, ValueError, "Items (train) gives a Tensor and no dictionary: leave the keys out."),
    (Items([{"a": x, "b": x} for x in VECTORS]), {}, ValueError, "several columns: choose the example among a, b."),
    (Items([{"a": x, "y": 1} for x in VECTORS]), {"x_key": "c"}, ValueError, "Items (train) has no c: there is a, y."),
    (Items([{"y": 1} for _ in VECTORS]), {}, ValueError, "has no column for examples, only y."),
    (
        Items([{"a": "u", "b": 1} for _ in VECTORS]),
        {"x_key": ["a", "b"]},
        ValueError,
        "a of Items (train) must be a num",
    ),
]


@pytest.mark.parametrize(("source", "kwargs", "kind", "said"), BAD, ids=[row[3][:40] for row in BAD])
def test_what_it_does_not_take(source: Any, kwargs: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=re.escape(said)) as error:
        FromDataset(train=source, **kwargs).setup()
    assert "\n" not in str(error.value)


def test_targets_that_are_no_classes_can_be_left_out() -> None:
    data = FromDataset(train=Items([(x, x) for x in VECTORS]), labels=False)
    assert data.num_classes is None
    assert data.load("train").y is None


def test_fitted_in_python(tmp_path: Path) -> None:
    """A checkpoint holds the data if they were given as a class, and none if as an object."""
    factory = partial(FakeData, size=20, image_size=(1, 8, 8))
    for source, kept in ((factory, True), (factory(), False)):
        data = FromDataset(train=source)
        model = VAE(shape=data.shape, likelihood=data.likelihood, latent_dim=2)
        run = trainer(tmp_path, max_epochs=1)
        run.fit(model, datamodule=data)
        run.save_checkpoint(tmp_path / "a.ckpt")
        saved = torch.load(tmp_path / "a.ckpt", weights_only=True)["vae_zoo"]["data"]
        assert (saved is not None) == kept
        assert not kept or saved["init_args"]["train"]["init_args"] == {"size": 20, "image_size": [1, 8, 8]}
