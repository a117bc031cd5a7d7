from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_zoo.data import Arrays

from .array_cases import IMAGES, VECTORS, check_one_line, whole


@pytest.mark.parametrize("dtype", ["float64", ">f4", "float16", "int32", "uint8"])
def test_vectors(tmp_path: Path, dtype: str) -> None:
    vectors = np.abs(VECTORS).astype(dtype)
    np.save(tmp_path / "a.npy", vectors)
    data = Arrays(path=str(tmp_path / "a.npy"))
    assert (data.shape, data.num_classes) == ((3,), None)
    x, y = whole(data)
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.tensor(vectors.astype(np.float32)))
    assert y is None


def test_grey_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    data = Arrays(path=str(tmp_path / "a.npy"), binarization="dynamic")
    assert data.shape == (1, 4, 5)
    assert data.load("train").x.dtype == torch.uint8
    x, _ = whole(Arrays(path=str(tmp_path / "a.npy")))
    assert torch.equal(x[:, 0], torch.from_numpy(IMAGES))


def test_float_images_keep_their_range(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES * -3.0)
    data = Arrays(path=str(tmp_path / "a.npy"))
    batch = next(iter(data.val_dataloader()))
    assert batch.x.dtype == torch.float32
    assert data.on_after_batch_transfer(batch).x.unique().tolist() == batch.x.unique().tolist()
    assert whole(data)[0].min() == -57


def test_bits_become_black_and_white(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", IMAGES > 9)
    assert Arrays(path=str(tmp_path / "a.npy")).load("train").x.unique().tolist() == [0, 255]


@pytest.mark.parametrize(
    ("shape", "channels_last", "expected"),
    [
        ((20, 3, 8, 9), None, (3, 8, 9)),
        ((20, 8, 9, 3), None, (3, 8, 9)),
        ((20, 8, 9, 1), None, (1, 8, 9)),
        ((20, 3, 8, 3), False, (3, 8, 3)),
        ((20, 3, 8, 3), True, (3, 3, 8)),
        ((20, 8, 9, 16), True, (16, 8, 9)),
    ],
)
def test_channels(
    tmp_path: Path, shape: tuple[int, ...], channels_last: bool | None, expected: tuple[int, ...]
) -> None:
    images = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    np.save(tmp_path / "a.npy", images)
    data = Arrays(path=str(tmp_path / "a.npy"), channels_last=channels_last)
    assert data.shape == expected
    first = data.load("val").x[0]
    assert first.is_contiguous()
    moved = images.transpose(0, 3, 1, 2) if expected != shape[1:] else images
    assert any(np.array_equal(first, image) for image in moved)


@pytest.mark.parametrize("shape", [(20, 3, 8, 3), (20, 8, 9, 16)])
def test_channels_that_may_be_first_or_last(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint8))
    check_one_line(ValueError, r".*a\.npy has (images|examples) of shape .* channels_last.*\.", path=tmp_path / "a.npy")


@pytest.mark.parametrize("ending", ["npz", "pt"])
def test_several_arrays(tmp_path: Path, ending: str) -> None:
    arrays = {"x": VECTORS, "other": -VECTORS[::-1], "y": np.arange(20) % 3 * 10, "z": np.arange(20) % 2 > 0}
    path = tmp_path / f"a.{ending}"
    if ending == "npz":
        np.savez_compressed(path, **arrays)
    else:
        torch.save({name: torch.tensor(array.copy()) for name, array in arrays.items()}, path)
    data = Arrays(path=str(path))
    assert (data.num_classes, data.classes) == (3, [0, 10, 20])
    x, y = whole(data)
    assert torch.equal(x, torch.tensor(VECTORS, dtype=torch.float32))
    assert torch.equal(y, torch.arange(20) % 3)
    data = Arrays(path=str(path), key="other", label_key="z")
    assert (data.num_classes, data.classes) == (2, [False, True])
    assert torch.equal(whole(data)[1], torch.arange(20) % 2)
    check_one_line(ValueError, rf"{path} has no w: its keys are x, other, y, z\.", path=path, key="w")
    check_one_line(ValueError, rf"{path} has no w: its keys are x, other, y, z\.", path=path, label_key="w")


def test_the_only_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mine=VECTORS, y=np.arange(20))
    assert Arrays(path=str(tmp_path / "a.npz")).shape == (3,)
    np.savez(tmp_path / "b.npz", mine=VECTORS, yours=VECTORS)
    path = tmp_path / "b.npz"
    check_one_line(ValueError, rf"{path} has no x: give one of its keys, mine, yours, as key\.", path=path)


def test_tensor(tmp_path: Path) -> None:
    torch.save(torch.tensor(VECTORS, dtype=torch.bfloat16, requires_grad=True), tmp_path / "a.pt")
    assert Arrays(path=str(tmp_path / "a.pt")).load("val").x.dtype == torch.float32


def test_files_of_their_own_splits(tmp_path: Path) -> None:
    names = {"train": "a", "val": "b", "test": "c"}
    for number, name in enumerate(names.values()):
        np.savez(tmp_path / f"{name}.npz", x=np.full((10, 2), number), y=np.full(10, "xyz"[number]))
    val, test = str(tmp_path / "b.npz"), str(tmp_path / "c.npz")
    data = Arrays(path=str(tmp_path / "a.npz"), val_path=val, test_path=test)
    assert data.num_train == 10
    assert data.classes == ["x", "y", "z"]
    for number, split in enumerate(names):
        assert data.load(split).x.unique().tolist() == [number]
        assert data.load(split).y.unique().tolist() == [number]
    data = Arrays(path=str(tmp_path / "a.npz"), test_path=test)
    assert [len(data.load(split).x) for split in ("train", "val", "test")] == [9, 1, 10]


def test_file_of_another_shape(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VECTORS)
    np.save(tmp_path / "b.npy", VECTORS[:, :2])
    message = r"Examples in the val split of Arrays must have the shape \(3,\), got \(2,\)\."
    check_one_line(ValueError, message, path=tmp_path / "a.npy", val_path=str(tmp_path / "b.npy"))


def test_splits_are_seeded_and_disjoint(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VECTORS)
    first, same, other = (Arrays(path=str(tmp_path / "a.npy"), split_seed=seed).load("test").x for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (
            [-1, 0, 1, 2],
            r"10 of 40 labels in .*a\.npz are no class, the first, in row 0, is -1: leave these",
        ),
        (["a", ""], r"20 of 40 labels in .*a\.npz are no class, the first, in row 1, is ''"),
        ([-1, 1], None),
        ([0, 3], None),
    ],
)
def test_labels_that_stand_for_none(tmp_path: Path, labels: list[Any], said: str | None) -> None:
    np.savez(tmp_path / "a.npz", x=np.random.rand(40, 3), y=np.array(labels * (40 // len(labels))))
    data = Arrays(path=str(tmp_path / "a.npz"))
    if said is None:
        assert data.num_classes == 2
        return
    with pytest.raises(ValueError, match=said):
        data.load("train")
