"""Tiles of a roguelike game, from their archive."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vae_zoo.data.base.paths import data_root
from vae_zoo.data.base.splits import Split, SplitName, split_indices
from vae_zoo.data.datasets.images import Images
from vae_zoo.data.files.array_files import read_table
from vae_zoo.typing import Shape

_SIDE = 32
_NUM_TILES, _NUM_DIFFERENT = 3984, 3906
_NUM_VAL, _NUM_TEST = 400, 400
_FOLDERS = {
    "dungeon": "dngn",
    "effect": "effect",
    "gui": "gui",
    "item": "item",
    "misc": "misc",
    "monster": "mon",
    "player": "player",
}


class DungeonTiles(Images):
    """Colour tiles of 32x32 pixels on black, in 7 classes: 3106 for training, 400 for validation and 400 for testing.

    The tiles of Dungeon Crawl Stone Soup were drawn pixel by pixel and stored without loss, so bits per dimension are
    those of a code for the originals. 78 of the 3984 tiles repeat another one exactly, 4 under another class; only
    the first of each is kept, so no tile is in two splits. The row numbers are those of the archive.

    References:
        | Dungeon Crawl Stone Soup tiles (dedicated to the public domain, CC0)
        | https://github.com/crawl/tiles

    Args:
        root: Folder with ``DungeonTiles/tiles.npz``; None for ``$VAE_ZOO_DATA``, else a folder in the user's cache.
        kwargs: Arguments of :class:`Images`.

    Raises:
        FileNotFoundError: When the data are read, if the file does not exist.
        ValueError: When the data are read, if the file does not contain the tiles.
    """

    grey = True

    classes: tuple[str, ...] = tuple(_FOLDERS)
    """Names of the classes, in the order of their labels."""

    def __init__(self, *, root: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = data_root(root) / "DungeonTiles" / "tiles.npz"

    @property
    def shape(self) -> Shape:
        return (3, _SIDE, _SIDE)

    @property
    def num_train(self) -> int:
        return _NUM_DIFFERENT - _NUM_VAL - _NUM_TEST

    @property
    def num_rows(self) -> int:
        return _NUM_DIFFERENT

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    def dataset(self, split: SplitName) -> Split:
        tiles, labels = self._content()
        first = {tile.tobytes(): row for row, tile in reversed(list(enumerate(tiles)))}
        if len(first) != _NUM_DIFFERENT:
            raise ValueError(f"{self.path} must hold {_NUM_DIFFERENT} different tiles, got {len(first)}.")
        rows = torch.tensor(sorted(first.values()))
        rows = rows[split_indices(_NUM_DIFFERENT, num_val=_NUM_VAL, num_test=_NUM_TEST, seed=0)[split]]
        return Split(torch.from_numpy(tiles[rows.numpy()]), torch.from_numpy(labels[rows.numpy()]), rows=rows)

    def _content(self) -> tuple[np.ndarray, np.ndarray]:
        """All tiles, (N, 3, H, W), and their labels, (N,)."""
        if not self.path.is_file():
            raise FileNotFoundError(
                f"There is no {self.path}: clone the public repository crawl/tiles and write it with "
                "vae_zoo.data.write_dungeon_tiles('tiles'), or set VAE_ZOO_DATA to a folder that has "
                "DungeonTiles/tiles.npz."
            )
        table = read_table(self.path, key="x", label_key="y", label_column=None, channels_last=True, layout="image")
        x, y = np.asarray(table.x), table.y
        if x.shape != (_NUM_TILES, *self.shape) or x.dtype != np.uint8:
            found = f"{x.dtype} of shape {(len(x), *x.shape[2:], x.shape[1])}"
            raise ValueError(f"x in {self.path} must be uint8 of shape {(_NUM_TILES, _SIDE, _SIDE, 3)}, got {found}.")
        assert y is not None
        if y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= self.num_classes:
            raise ValueError(f"y in {self.path} must hold the numbers 0 .. {self.num_classes - 1} of the classes.")
        return x, y.astype(np.int64)


def write_dungeon_tiles(repository: str, root: str | None = None) -> Path:
    """Write the archive of :class:`DungeonTiles` from a clone of the repository of the tiles.

    Args:
        repository: Folder of the clone.
        root: Folder of data files; None for ``$VAE_ZOO_DATA``, else a folder in the user's cache.

    Returns:
        Path of the archive.

    Raises:
        FileNotFoundError: If the folder has no tiles.
    """
    release = Path(repository).expanduser() / "releases" / "Nov-2015"
    tiles = [(tile, y) for y, name in enumerate(_FOLDERS.values()) for tile in _tiles(release / name)]
    if not tiles:
        raise FileNotFoundError(f"There are no tiles in {release}: give the folder of a clone of crawl/tiles.")
    path = data_root(root) / "DungeonTiles" / "tiles.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y = zip(*tiles, strict=True)
    np.savez_compressed(path, x=np.stack(x), y=np.array(y))
    return path


def _tiles(folder: Path) -> Iterator[np.ndarray]:
    """The images of the usual size in a folder and its subfolders, on black."""
    from PIL import Image

    for path in sorted(folder.rglob("*.png")):
        with Image.open(path, formats=["PNG"]) as image:
            if image.size == (_SIDE, _SIDE):
                black = Image.new("RGBA", image.size, (0, 0, 0, 255))
                yield np.asarray(Image.alpha_composite(black, image.convert("RGBA")).convert("RGB"))
