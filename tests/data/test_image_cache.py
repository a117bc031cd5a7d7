from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image

from vae_zoo.data import ImageFolder, Mapped
from vae_zoo.data.files import image_cache, image_files


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VAE_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "image_folders"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were decoded."""
    names, read = [], image_files._read_image
    monkeypatch.setattr(image_files, "_read_image", lambda path, *args: names.append(path.name) or read(path, *args))
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(12):
        save(tmp_path / "images" / f"{number}.png", number)
    return tmp_path / "images"


def save(path: Path, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (9, 7, 3), np.uint8)).save(path)


def splits(folder: Path, **kwargs: Any) -> list[torch.Tensor]:
    data = ImageFolder(folder=str(folder), **{"image_size": 8, **kwargs})
    data.setup()
    return [data.load(split).x[:] for split in ("train", "val", "test")]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("block", [2**24, 400, 1])
def test_decoded_once(
    folder: Path, cache: Path, decoded: list[str], block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "_BLOCK", block)
    plain = splits(folder, cache=False)
    assert not cache.exists()
    decoded.clear()
    assert same(splits(folder, num_workers=1), plain)
    assert sorted(decoded) == sorted(path.name for path in folder.iterdir())
    assert len(list(cache.iterdir())) == 3, "one file a split, and nothing temporary"
    decoded.clear()
    assert same(splits(folder), plain)
    assert same(splits(folder, in_memory_limit=0), plain)
    assert same(splits(folder.parent / "images" / ".." / "images"), plain)
    assert decoded == []


def test_above_the_limit_it_stays_in_the_file(folder: Path, cache: Path) -> None:
    data = ImageFolder(folder=str(folder), image_size=8, in_memory_limit=0, batch_size=3)
    held = ImageFolder(folder=str(folder), image_size=8, batch_size=3)
    assert isinstance(data.load("train").x, Mapped)
    for a, b in zip(data.train_dataloader(), held.train_dataloader(), strict=True):
        assert torch.equal(a.x, b.x)


@pytest.mark.parametrize(
    "kwargs", [{"image_size": 6}, {"channels": 1}, {"crop": False}, {"split_seed": 1}, {"image_size": (8, 9)}]
)
def test_other_images_have_files_of_their_own(folder: Path, cache: Path, kwargs: dict[str, Any]) -> None:
    splits(folder)
    assert same(splits(folder, **kwargs), splits(folder, cache=False, **kwargs))
    assert len(list(cache.iterdir())) == 6


def test_a_changed_folder_is_decoded_anew(folder: Path, cache: Path, decoded: list[str]) -> None:
    before = splits(folder)
    save(folder / "3.png", 99)
    os.utime(folder / "3.png", ns=(1, 1))
    assert not same(splits(folder), before)
    assert same(splits(folder), splits(folder, cache=False))
    (folder / "3.png").unlink()
    assert same(splits(folder), splits(folder, cache=False))
    moved = shutil.move(folder, folder.parent / "moved")
    decoded.clear()
    splits(moved)
    assert decoded == []


@pytest.mark.parametrize("damage", ["short", "empty", "other", "noise"])
def test_a_damaged_cache_is_made_anew(folder: Path, cache: Path, damage: str) -> None:
    before = splits(folder)
    for path in cache.iterdir():
        if damage == "other":
            np.save(path, np.load(path).astype(np.float32) + 1)
        else:
            whole = path.read_bytes()
            path.write_bytes({"short": whole[:-1], "empty": b"", "noise": b"no array" * 99}[damage])
    assert same(splits(folder), before)
    assert sorted(np.load(path).sum() for path in cache.iterdir()) == sorted(x.sum() for x in before)


def test_unreadable_images_leave_nothing_behind(folder: Path, cache: Path) -> None:
    (folder / "3.png").write_bytes(b"no image")
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"^1 of \d+ images cannot be read: .*3\.png \(truncated, .*\): mend .* skip\.$"
        ):
            splits(folder)
    assert not [path for path in cache.iterdir() if path.suffix == ".tmp"]


def test_a_cache_that_cannot_be_written(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VAE_ZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(
        ValueError, match=r"^Decoded images cannot be written to .* \(.*\): set VAE_ZOO_CACHE .* false\.$"
    ):
        splits(folder)
    assert splits(folder, cache=False)


def test_whoever_writes_at_once_writes_whole_files(folder: Path, cache: Path) -> None:
    found: list[Any] = []
    together = threading.Barrier(4)

    def run() -> None:
        together.wait()
        found.append(splits(folder))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(same(x, splits(folder, cache=False)) for x in found)
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize(
    ("stage", "num"), [(TrainerFn.FITTING, 2), (TrainerFn.TESTING, 1), (TrainerFn.PREDICTING, 1), (None, 3)]
)
def test_one_process_decodes_what_the_stage_needs(
    folder: Path, cache: Path, decoded: list[str], stage: TrainerFn | None, num: int
) -> None:
    data = ImageFolder(folder=str(folder), image_size=8)
    data.trainer = SimpleNamespace(state=SimpleNamespace(fn=stage))
    data.prepare_data()
    assert len(list(cache.iterdir())) == num
    decoded.clear()
    other = ImageFolder(folder=str(folder), image_size=8)
    other.setup(stage and stage.value)
    assert decoded == []


def test_a_file_that_is_never_whole(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache, "_open", lambda *_: None)
    with pytest.raises(ValueError, match=r"cannot be read right after it was written: check the disk"):
        splits(folder)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"^num_workers must be at least 1, got 0\.$"):
        ImageFolder(folder="a", num_workers=0)
    with pytest.raises(ValueError, match=r"^in_memory_limit must be at least 0 GiB, got nan\.$"):
        ImageFolder(folder="a", in_memory_limit=float("nan"))
