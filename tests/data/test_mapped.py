from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_zoo.data import Arrays, DataModule, Mapped, Split, TensorLoader
from vae_zoo.data.base import mapped
from vae_zoo.data.base.mapped import chunks
from vae_zoo.typing import Batch

from .array_cases import check_one_line
from .memory import peak

BYTES = np.random.default_rng(0).integers(0, 256, (40, 5, 6, 3), np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    np.save(tmp_path / "a.npy", BYTES)
    return tmp_path / "a.npy"


def epochs(data: DataModule) -> list[Batch]:
    """Two epochs of training batches and the validation batches, as a model takes them."""
    loader, batches = data.train_dataloader(), []
    for epoch in range(2):
        loader.set_epoch(epoch)
        batches += list(loader)
    return [data.on_after_batch_transfer(batch) for batch in [*batches, *data.val_dataloader()]]


@pytest.mark.parametrize("options", [{}, {"binarization": "threshold"}, {"channels_last": True, "split_seed": 3}])
@pytest.mark.parametrize("dtype", ["uint8", "float16", ">f8"])
def test_batches_are_those_of_memory(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    if dtype != "uint8" and "binarization" in options:
        pytest.skip("only bytes can be made binary")
    np.save(tmp_path / "a.npy", BYTES.astype(dtype) / 255 if dtype != "uint8" else BYTES)
    held, read = (
        Arrays(path=str(tmp_path / "a.npy"), in_memory_limit=limit, batch_size=7, **options) for limit in (1, 0)
    )
    assert isinstance(held.load("train").x, torch.Tensor)
    assert isinstance(read.load("train").x, Mapped)
    for a, b in zip(epochs(held), epochs(read), strict=True):
        assert torch.equal(a.x, b.x)
        assert (a.index.tolist(), a.key) == (b.index.tolist(), b.key)
        assert b.x.is_contiguous()
    assert torch.equal(held.examples("test"), read.examples("test"))
    assert (held.shape, held.num_train) == (read.shape, read.num_train)


def test_splits_of_files_of_their_own(path: Path) -> None:
    np.save(path.parent / "b.npy", BYTES[::-1])
    data = Arrays(path=str(path), val_path=str(path.parent / "b.npy"), in_memory_limit=0)
    assert torch.equal(data.load("val").x[:], torch.tensor(BYTES[::-1].transpose(0, 3, 1, 2).copy()))


def test_a_small_split_of_a_large_file_is_held(path: Path) -> None:
    data = Arrays(path=str(path), in_memory_limit=10 * 90 / 2**30)
    assert isinstance(data.load("train").x, Mapped)
    assert isinstance(data.load("val").x, torch.Tensor)


def test_indexing(path: Path) -> None:
    rows = np.random.default_rng(1).permutation(40)[:30]
    source, whole = Mapped(np.load(path, mmap_mode="r"), rows), torch.tensor(BYTES[rows])
    assert (len(source), source.shape, source.dtype, source.nbytes) == (30, whole.shape, whole.dtype, whole.nbytes)
    for index in (torch.tensor([3, 3, 0, 29]), slice(4, 9), slice(None, None, 2), torch.tensor([], dtype=torch.long)):
        assert torch.equal(source[index], whole[index])
    assert torch.equal(source.read(), whole)
    assert torch.equal(source.map(lambda x: x // 2)[torch.tensor([5])], whole[[5]] // 2)
    assert torch.equal(source[torch.tensor([5])], whole[[5]])
    assert torch.equal(source.sample(3 * 90), whole[[0, 10, 20]])


def test_chunks_go_through_the_file_in_order(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_CHUNK", 7 * 90)
    rows = np.random.default_rng(1).permutation(40)
    source = Mapped(np.load(path, mmap_mode="r"), rows)
    parts = list(chunks(source))
    assert [len(index) for index, _ in parts] == [7] * 5 + [5]
    sparse = list(chunks(Mapped(np.load(path, mmap_mode="r"), np.array([39, 1, 0, 20]))))
    assert [index.tolist() for index, _ in sparse] == [[2, 1], [3], [0]]
    assert rows[torch.cat([index for index, _ in parts])].tolist() == list(range(40))
    assert torch.equal(torch.cat([x for _, x in parts]), torch.tensor(BYTES))
    assert torch.equal(source.read(), torch.tensor(BYTES[rows]))


def test_a_batch_is_read_at_once(path: Path) -> None:
    calls = []

    def convert(x: np.ndarray) -> torch.Tensor:
        calls.append(len(x))
        return torch.from_numpy(x)

    source = Mapped(np.load(path, mmap_mode="r"), convert=convert)
    calls.clear()
    list(TensorLoader(source, batch_size=16, training=True))
    assert calls == [16, 16, 8]


def test_values_that_are_not_finite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.zeros((40, 3), np.float32)
    x[10, 1], x[20, 2], x[30, 0] = np.nan, np.inf, -np.inf
    np.save(tmp_path / "a.npy", x)
    path = tmp_path / "a.npy"
    message = r"\d values in [^\n]*\.npy are not finite, the first at index \(\d+, \d\); "
    message += r"if NaN is a missing value, set missing to true\."
    check_one_line(ValueError, message, path=path)
    found = []
    for limit, size in ((1, 2**24), (0, 2**24), (0, 36)):
        monkeypatch.setattr(mapped, "_CHUNK", size)
        with pytest.raises(ValueError, match="not finite") as error:
            Arrays(path=str(path), in_memory_limit=limit).setup()
        found.append(str(error.value))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(("kind", "split"), [("static", "train"), ("dynamic", "val")])
def test_what_is_drawn_once_must_be_held(path: Path, kind: str, split: str) -> None:
    message = (
        rf"binarization '{kind}' draws the {split} split once and keeps it in memory: set in_memory_limit .* GiB\."
    )
    check_one_line(ValueError, message, path=path, binarization=kind, in_memory_limit=0)


def test_bad_limit() -> None:
    with pytest.raises(ValueError, match=r"^in_memory_limit must be at least 0 GiB, got -1\.$"):
        Arrays(path="a.npy", in_memory_limit=-1)


def test_a_data_module_of_ones_own(path: Path) -> None:
    class Own(DataModule):
        def dataset(self, split: str) -> Split:
            return Split(Mapped(np.load(path, mmap_mode="r")[:, :, :, 0]))

    data = Own(batch_size=40)
    data.setup()
    assert data.shape == (5, 6)
    (batch,) = data.val_dataloader()
    assert torch.equal(data.on_after_batch_transfer(batch).x, torch.tensor(BYTES[..., 0] / np.float32(255)))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    run = f"data = D.Arrays(path={str(path)!r}, in_memory_limit=0, batch_size=16)\n"
    run += "data.setup()\nfor _ in data.train_dataloader(): pass"
    np.lib.format.open_memmap(path, "w+", np.float32, (100_000, 1024)).flush()  # 391 MiB, of which none is written
    assert peak(run) < 200
