from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vae_zoo.data import DungeonTiles, write_dungeon_tiles
from vae_zoo.data.base.paths import data_root

NUM, DIFFERENT = 3984, 3906


def tiles(num_different: int = DIFFERENT) -> dict[str, np.ndarray]:
    """Tiles of which each has its number in two pixels; the first ones are there again at the end."""
    number = np.arange(NUM) % num_different
    x = np.zeros((NUM, 32, 32, 3), np.uint8)
    x[:, 1, 2, 0], x[:, 1, 2, 2] = number % 256, number // 256
    return {"x": x, "y": np.arange(NUM) % 7}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "DungeonTiles").mkdir()
    return tmp_path / "DungeonTiles" / "tiles.npz"


def data(path: Path) -> DungeonTiles:
    return DungeonTiles(root=str(path.parent.parent))


def test_splits_without_duplicates(path: Path) -> None:
    np.savez(path, **tiles())
    module = data(path)
    assert (module.shape, module.num_train, module.num_rows, module.num_classes) == ((3, 32, 32), 3106, DIFFERENT, 7)
    splits = [module.load(split) for split in ("train", "val", "test")]
    assert [len(split.x) for split in splits] == [3106, 400, 400]
    assert {split.x.dtype for split in splits} == {torch.uint8}
    x = torch.cat([split.x for split in splits])
    numbers = x[:, 0, 1, 2].int() + 256 * x[:, 2, 1, 2].int()
    assert sorted(numbers.tolist()) == list(range(DIFFERENT))
    assert torch.equal(torch.cat([split.rows for split in splits]), numbers)  # the first of each
    assert torch.equal(torch.cat([split.y for split in splits]), numbers % 7)
    assert torch.equal(data(path).load("val").x, splits[1].x)


def test_missing_file(path: Path) -> None:
    wanted = rf"^There is no {path}: clone [^\n]*crawl/tiles [^\n]*write_dungeon_tiles[^\n]*VAE_ZOO_DATA[^\n]*$"
    with pytest.raises(FileNotFoundError, match=wanted):
        data(path).setup("fit")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": np.zeros((5, 32, 32, 3), np.uint8), "y": np.zeros(5, int)}, r"got uint8 of shape \(5, 32, 32, 3\)\.$"),
        ({"x": tiles()["x"].astype(np.float32)}, r"got float32 of shape \(3984, 32, 32, 3\)\.$"),
        ({"y": np.full(NUM, 7)}, r"^y in \S+ must hold the numbers 0 \.\. 6 of the classes\.$"),
        ({"y": np.full(NUM, "gui")}, r"must hold the numbers 0 \.\. 6 of the classes\.$"),
        ({"x": tiles(3000)["x"]}, r"must hold 3906 different tiles, got 3000\.$"),
        ({"x": np.array([None] * NUM)}, r"holds an array of Python objects"),
        ({"y": None}, r"has no y: its keys are x\.$"),
    ],
)
def test_other_content(path: Path, changed: dict[str, Any], message: str) -> None:
    content = {name: array for name, array in (tiles() | changed).items() if array is not None}
    np.savez(path, **content)
    with pytest.raises(ValueError, match=message):
        data(path).setup("fit")


@pytest.mark.parametrize("size", [0, 50, 10_000])
def test_truncated_file(path: Path, size: int) -> None:
    np.savez(path, **tiles())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=rf"^{path} is truncated or no \.npz file\.$"):
        data(path).setup("fit")


def test_written_from_a_clone(tmp_path: Path) -> None:
    release = tmp_path / "tiles" / "releases" / "Nov-2015"
    for name, size, colour in (
        ("mon/b.png", (32, 32), (10, 20, 30, 255)),
        ("mon/undead/a.png", (32, 32), (200, 200, 200, 0)),  # transparent
        ("dngn/wall/c.png", (32, 32), (40, 50, 60, 255)),
        ("gui/large.png", (64, 32), (1, 1, 1, 255)),
        ("UNUSED/d.png", (32, 32), (2, 2, 2, 255)),
    ):
        (release / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGBA", size, colour).save(release / name)
    with np.load(write_dungeon_tiles(str(tmp_path / "tiles"), str(tmp_path))) as written:
        assert written["y"].tolist() == [0, 5, 5]
        assert written["x"].shape == (3, 32, 32, 3)
        assert written["x"][:, 3, 4].tolist() == [[40, 50, 60], [10, 20, 30], [0, 0, 0]]
    with pytest.raises(FileNotFoundError, match=r"^There are no tiles in \S+: give the folder of a clone"):
        write_dungeon_tiles(str(tmp_path / "nowhere"), str(tmp_path))


@pytest.mark.skipif("VAE_ZOO_DATA" not in os.environ, reason="VAE_ZOO_DATA says where the real file is")
def test_real_file() -> None:
    if not (data_root() / "DungeonTiles").is_dir():
        pytest.skip("VAE_ZOO_DATA has no dungeon tiles")
    loaded = DungeonTiles().load("train")
    assert loaded.y is not None
    assert torch.bincount(loaded.y).min() > 100
    x = loaded.x[:].float()
    mixed_up = x.permute(0, 2, 3, 1).reshape(x.shape)  # channels last, read as first
    assert x.diff(dim=3).abs().mean() < 0.85 * mixed_up.diff(dim=3).abs().mean()
