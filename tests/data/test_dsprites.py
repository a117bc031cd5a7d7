"""dSprites from an archive like the original, with fewer values of each factor."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from vae_zoo.data import DSprites, Mapped
from vae_zoo.data.datasets.dsprites import FILE

SIZES = (3, 2, 4, 3, 3)
NUM = math.prod(SIZES)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An archive whose image n has n of its pixels set, and what else the real one holds."""
    monkeypatch.setattr("vae_zoo.data.DSprites.factor_sizes", SIZES)
    monkeypatch.setattr("vae_zoo.data.datasets.dsprites._BLOCK", 50)
    monkeypatch.setenv("VAE_ZOO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "dSprites" / FILE
    path.parent.mkdir()
    save(path)
    return path


def save(path: Path, **arrays: np.ndarray) -> None:
    images = (np.arange(64 * 64) < np.arange(NUM)[:, None]).astype(np.uint8).reshape(NUM, 64, 64)
    np.savez_compressed(path, **{"metadata": np.array({"a": 1}, dtype=object), "imgs": images, **arrays})


def sprites(path: Path, **kwargs: object) -> DSprites:
    return DSprites(**{"root": str(path.parent.parent), "num_val": 20, "num_test": 30, **kwargs})


def test_splits_and_factors(path: Path) -> None:
    data = sprites(path)
    assert (data.shape, data.num_train, data.num_classes, data.factor_sizes) == ((1, 64, 64), NUM - 50, 3, SIZES)
    splits = [data.load(name) for name in ("train", "val", "test")]
    assert [len(split.x) for split in splits] == [NUM - 50, 20, 30]
    numbers = torch.cat([(split.x == 255).flatten(1).sum(1) for split in splits])
    assert sorted(numbers.tolist()) == list(range(NUM))
    assert set(torch.cat([split.x for split in splits]).unique().tolist()) == {0, 255}
    factors = torch.cat([split.factors for split in splits])
    assert torch.equal(numbers, torch.tensor(np.ravel_multi_index(factors.T.numpy(), SIZES)))
    assert torch.equal(factors[:, 0], torch.cat([split.y for split in splits]))


def test_the_archive_is_unpacked_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = sprites(path).load("val").x
    monkeypatch.setattr("zipfile.ZipFile", lambda *args: pytest.fail("unpacked again"))
    again = sprites(path, in_memory_limit=0.0).load("val").x
    assert isinstance(again, Mapped)
    assert torch.equal(again.read(), x)


def test_files_that_are_not_it(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"is truncated or not the archive of dSprites\.$"):
        sprites(path).load("train")
    save(path, imgs=np.zeros((5, 64, 64), np.uint8))
    with pytest.raises(ValueError, match=r"its images are \(5, 64, 64\) of uint8\.$"):
        sprites(path).load("train")
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="is truncated or not the archive"):
        sprites(path).load("train")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"put the archive of dSprites there, or set VAE_ZOO_DATA"):
        sprites(path).load("train")
    assert not list(path.parents[1].glob("cache/**/*.npy"))


@pytest.mark.parametrize("sizes", [{"num_val": 0}, {"num_test": 0}, {"num_val": NUM}])
def test_bad_sizes(path: Path, sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must leave images to train on, got"):
        sprites(path, **sizes)


def test_of_the_real_archive_nothing_is_read_to_know_its_sizes() -> None:
    data = DSprites(root="nowhere")
    assert (data.num_train, data.factor_sizes) == (717_280, (3, 6, 40, 32, 32))
