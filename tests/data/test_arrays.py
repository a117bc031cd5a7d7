from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_zoo.data import Arrays

NUMBERS = np.arange(20, dtype=np.float64)
VECTORS = np.stack([NUMBERS, NUMBERS / 10, -NUMBERS], 1)
IMAGES = np.broadcast_to(np.arange(20, dtype=np.uint8)[:, None, None], (20, 4, 5)).copy()


def whole(data: Arrays) -> tuple[torch.Tensor, torch.Tensor | None]:
    """All splits together, in the order of the file, by the first number of each example."""
    data.setup()
    splits = [data.load(split) for split in ("train", "val", "test")]
    assert [len(split.x) for split in splits] == [16, 2, 2]
    assert data.num_train == 16
    x = torch.cat([split.x for split in splits])
    order = x.flatten(1)[:, 0].argsort()
    return x[order], None if splits[0].y is None else torch.cat([split.y for split in splits])[order]


def check_one_line(kind: type[Exception], pattern: str, **kwargs: Any) -> None:
    with pytest.raises(kind, match=f"^{pattern}$") as error:
        Arrays(**{**kwargs, "path": str(kwargs["path"])}).setup()
    assert "\n" not in str(error.value)


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
    check_one_line(ValueError, r".*a\.npy has images of shape .* channels_last, .*\.", path=tmp_path / "a.npy")


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


def test_csv(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", VECTORS, delimiter=",")
    assert torch.allclose(whole(Arrays(path=str(tmp_path / "a.csv")))[0], torch.tensor(VECTORS, dtype=torch.float32))


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("names", [["ant", "bee"], ["9", "10"], ["1.0", "2.0"]])
def test_csv_with_header_and_labels(tmp_path: Path, delimiter: str, names: list[str]) -> None:
    rows = [["height", "kind", '"width"'], *([str(n), names[n % 2], str(n / 2)] for n in range(20))]
    text = "\n".join(map(delimiter.join, rows))
    (tmp_path / "a.csv").write_text("\ufeff" + text + "\n\n", encoding="utf-8")
    data = Arrays(path=str(tmp_path / "a.csv"), label_column="kind")
    assert (data.shape, data.num_classes) == ((2,), 2)
    x, y = whole(data)
    assert x[:, 1].tolist() == [n / 2 for n in range(20)]
    assert torch.equal(y, torch.arange(20) % 2)


def test_csv_label_by_number(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("\n".join(f"{n},{n % 2}" for n in range(20)))
    assert torch.equal(whole(Arrays(path=str(tmp_path / "a.csv"), label_column="1"))[1], torch.arange(20) % 2)


@pytest.mark.parametrize(
    ("text", "label_column", "message"),
    [
        ("", None, "is empty, or its first line is."),
        ("a,b\n", None, "has no rows of numbers."),
        ("a,b\n1,2\n", "c", "has no column c: its first line is a, b."),
        ("1,2\n3,4\n", "2", "has no column 2: its first line is 1, 2."),
        ("a\nx\n", "a", "has no column besides the labels."),
        ("1,2\n3,x\n", None, r"is no table of numbers: could not convert string 'x' to float32 at row 1, column 2."),
        (
            "a,b\n1,2\n3,\n",
            None,
            "is no table of numbers after the header: could not convert string '' to float32 at row 1, column 2.",
        ),
        ("1,2\n3\n", None, "is no table of numbers: invalid column index 1 at row 2 with 1 columns."),
        ("1,2\n3,nan\n5,6\n7,8\n", None, None),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, label_column: str | None, message: str | None) -> None:
    path = tmp_path / "a.csv"
    path.write_text(text)
    pattern = f"{path} {re.escape(message)}" if message else r"1 values in the \w+ split of Arrays are not finite, .*"
    check_one_line(ValueError, pattern, path=path, label_column=label_column)


def test_csv_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(bytes(range(128, 256)))
    check_one_line(ValueError, r".*a\.csv is no text file\.", path=tmp_path / "a.csv")


@pytest.mark.parametrize("ending", ["npy", "npz", "pt"])
@pytest.mark.parametrize("size", [0, 3, 60, 0.5, -5])
def test_truncated_files(tmp_path: Path, ending: str, size: float) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "pt":
        torch.save(torch.from_numpy(VECTORS), path)
    else:
        (np.save if ending == "npy" else np.savez)(path, VECTORS)
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[: int(size * len(whole_file)) if size == 0.5 else int(size)])
    check_one_line(ValueError, rf"{path} is truncated.*\.", path=path)


def test_corrupt_npz(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, np.random.default_rng(0).random((20, 50)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    check_one_line(ValueError, rf"{path} is truncated or no \.npz file\.", path=path)


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_python_objects(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    (np.save if ending == "npy" else np.savez)(path, np.array([{}, []], object))
    check_one_line(ValueError, rf"{path} holds an array of Python objects: save one of numbers\.", path=path)


def test_pt_that_would_run_code(tmp_path: Path) -> None:
    torch.save({"x": torch.zeros(20, 2), "f": Path}, tmp_path / "a.pt")
    check_one_line(
        ValueError, r".*a\.pt is truncated, no \.pt file, or holds more than tensors\.", path=tmp_path / "a.pt"
    )


def test_pt_without_tensors(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "a.pt")
    check_one_line(
        ValueError, r".*a\.pt must hold a tensor or a dictionary of tensors, got dict\.", path=tmp_path / "a.pt"
    )


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros(20), "must have rank 2 (vectors), 3 (grey images) or 4 (images), got shape (20,)."),
        (np.zeros((2,) * 5), "must have rank 2 (vectors), 3 (grey images) or 4 (images), got shape (2, 2, 2, 2, 2)."),
        (np.zeros((20, 2), complex), "must hold numbers, got an array of complex128."),
        (np.zeros((20, 2), str), "must hold numbers, got an array of <U1."),
        (
            np.zeros((20, 4, 4), int),
            "has images of int64: save them as uint8 if they lie in 0 .. 255, or as floats in [0, 1].",
        ),
        (np.zeros((0, 2)), "has 0 examples, too few for train, val, test splits."),
    ],
)
def test_bad_arrays(tmp_path: Path, x: np.ndarray, message: str) -> None:
    np.save(tmp_path / "a.npy", x)
    check_one_line(ValueError, rf".*a\.npy {re.escape(message)}", path=tmp_path / "a.npy")


def test_values_beyond_single_precision(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((20, 2), 1e300))
    check_one_line(ValueError, r"32 values in the train split of Arrays are not finite, .*", path=tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros(19), "must have the shape (20,), one an example, got (19,)."),
        (np.zeros((20, 1)), "must have the shape (20,), one an example, got (20, 1)."),
        (np.full(20, 0.5), "must be classes, whole numbers or names, got float64."),
    ],
)
def test_bad_labels(tmp_path: Path, y: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "a.npz", x=VECTORS, y=y)
    check_one_line(ValueError, rf"Labels in .*a\.npz {re.escape(message)}", path=tmp_path / "a.npz")


def test_no_file(tmp_path: Path) -> None:
    check_one_line(FileNotFoundError, rf"There is no file {tmp_path}/a\.npy\.", path=tmp_path / "a.npy")


def test_unknown_ending(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"")
    check_one_line(ValueError, r".*a\.mat must end in \.npy, \.npz, \.pt or \.csv\.", path=tmp_path / "a.mat")
