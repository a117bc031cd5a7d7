"""Arrays in HDF5 files, written by h5py."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_zoo.data import Arrays, Mapped
from vae_zoo.data.files.hdf5_files import read_hdf5

from .memory import peak

h5py = pytest.importorskip("h5py")

BYTES = np.random.default_rng(0).integers(0, 256, (40, 5, 6, 3), np.uint8)
STORED: dict[str, dict[str, Any]] = {
    "contiguous": {},
    "chunked": {"chunks": (7, 5, 6, 3)},
    "compressed": {"chunks": (3, 5, 2, 3), "compression": "gzip", "shuffle": True},
}


def write(path: Path, arrays: dict[str, Any], **kwargs: Any) -> str:
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            values = np.asarray(values)
            file.create_dataset(name, data=values if values.dtype.kind != "U" else values.astype(object), **kwargs)
    return str(path)


def same(a: Arrays, b: Arrays) -> bool:
    """Whether two files give the same batches, in two epochs and in evaluation."""
    first, second = ([data.train_dataloader(), data.val_dataloader(), data.test_dataloader()] for data in (a, b))
    for mine, theirs in zip(first, second, strict=True):
        for epoch in range(2):
            mine.set_epoch(epoch)
            theirs.set_epoch(epoch)
            for x, y in zip(mine, theirs, strict=True):
                if not torch.equal(x.x, y.x) or (x.index.tolist(), x.key) != (y.index.tolist(), y.key):
                    return False
    return True


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("limit", [1.0, 0.0])
def test_images_are_those_of_a_numpy_file(tmp_path: Path, kind: str, limit: float) -> None:
    np.save(tmp_path / "a.npy", BYTES)
    path = write(tmp_path / "a.h5", {"x": BYTES}, **STORED[kind])
    options: dict[str, Any] = {"in_memory_limit": limit, "batch_size": 7}
    ours, plain = Arrays(path=path, **options), Arrays(path=str(tmp_path / "a.npy"), **options)
    assert ours.shape == (3, 5, 6)
    assert isinstance(ours.load("train").x, Mapped) == (limit == 0)
    assert same(ours, plain)


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (BYTES[..., 0], {}),
        (BYTES.reshape(40, -1), {}),
        (BYTES / 255, {"channels_last": True}),
        (BYTES[..., 0].astype(np.float16), {"layout": "vector"}),
        (BYTES[:, 0, :, 0] > 99, {"layout": "sequence"}),
        (BYTES[..., 0] > 99, {}),
        (BYTES.astype(">f8"), {"layout": "volume"}),
    ],
)
def test_layouts_and_types(tmp_path: Path, x: np.ndarray, options: dict[str, Any]) -> None:
    np.save(tmp_path / "a.npy", x)
    path = write(tmp_path / "a.hdf5", {"x": x})
    for limit in (1.0, 0.0):
        ours = Arrays(path=path, in_memory_limit=limit, **options)
        plain = Arrays(path=str(tmp_path / "a.npy"), in_memory_limit=limit, **options)
        assert ours.shape == plain.shape
        assert same(ours, plain)


def test_rows_labels_and_ids(tmp_path: Path) -> None:
    x = np.arange(30.0)[:, None].repeat(2, 1)
    names = [f"s{n}é" for n in range(30)]
    arrays = {"runs/first": x, "kind": ["a", "b"] * 15, "names": names, "other": np.zeros(3)}
    path = write(tmp_path / "a.h5", arrays)
    data = Arrays(path=path, key="runs/first", label_key="kind", id_key="names", in_memory_limit=0)
    assert (data.classes, data.num_classes) == (["a", "b"], 2)
    for split in ("train", "val", "test"):
        loaded = data.load(split)
        assert loaded.x[:][:, 0].tolist() == loaded.rows.tolist()
        assert loaded.ids.tolist() == [names[row] for row in loaded.rows]
        assert loaded.y.tolist() == [row % 2 for row in loaded.rows.tolist()]
    usual = Arrays(path=write(tmp_path / "b.h5", {"x": x, "y": np.arange(30) % 3, "ids": np.arange(30)}))
    assert usual.num_classes == 3
    assert torch.equal(torch.from_numpy(usual.load("val").ids), usual.load("val").rows)


def test_any_rows(tmp_path: Path) -> None:
    array = read_hdf5(Path(write(tmp_path / "a.h5", {"x": BYTES}, chunks=(4, 5, 6, 3))))["x"]
    for rows in ([3], [0, 1, 2, 9, 10, 39], [5, 5, 2], [9, 8, 7], []):
        assert np.array_equal(array[np.array(rows, int)], BYTES[rows])
    again = pickle.loads(pickle.dumps(array))
    assert np.array_equal(again[np.array([4, 6])], BYTES[[4, 6]])


def test_missing_values_and_lengths(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    x[3, 2] = np.nan
    data = Arrays(path=write(tmp_path / "a.h5", {"x": x}), missing=True, in_memory_limit=0)
    assert int(data.whole().x[:].isnan().sum()) == 1
    signals = {"x": np.nan_to_num(x), "lengths": np.full(30, 5)}
    padded = Arrays(path=write(tmp_path / "b.h5", signals), layout="sequence")
    assert torch.equal(padded.load("train").x[0, 0].isnan(), torch.arange(8) > 4)


@pytest.mark.slow
@pytest.mark.exhaustive
def test_it_is_not_read_whole(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        x = file.create_dataset("x", (30_000, 1024), "f4", chunks=(8, 1024))
        for start in range(0, 30_000, 10_000):
            x[start : start + 10_000] = np.random.default_rng(start).random((10_000, 1024), np.float32)
    text = f"data = D.Arrays(path={str(tmp_path / 'a.h5')!r}, in_memory_limit=0.01)\n"
    assert peak(text + "for batch in data.train_dataloader(): pass", "import h5py") < 80, "of 117 MiB"
