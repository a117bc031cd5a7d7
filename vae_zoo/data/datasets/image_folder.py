"""Image files in a folder of the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from vae_zoo.data.base.checks import check_fractions, check_limit, check_positive, known_labels
from vae_zoo.data.base.mapped import Mapped, load_if_small
from vae_zoo.data.base.splits import SPLITS, STAGES, Split, SplitName, num_left, random_split
from vae_zoo.data.datasets.images import Images
from vae_zoo.data.files.image_cache import cached_images
from vae_zoo.data.files.image_files import IMAGE_ENDINGS, list_images, read_images
from vae_zoo.typing import Shape


class _Listed(NamedTuple):
    """Image files, the names of their classes, and their positions among all files of the folder."""

    paths: list[str]
    names: list[str | None]
    rows: list[int]


class ImageFolder(Images):
    """Images of a folder, resized to one size.

    If the folder has subfolders ``train``, ``val`` or ``test`` and no others, except ``train`` alone, these are the
    splits; a missing one is taken from ``train`` at random. Without ``train``, they can be evaluated only. If all
    images of a split are in subfolders, the subfolders, sorted by name, are the classes; deeper folders may be nested
    at will. Hidden files and folders are ignored.

    Images of any mode are converted: palettes are resolved, 16 bits are scaled to 8 by ``white_level``, transparent
    pixels are composited onto black, and the EXIF orientation is applied.

    The ids of images are their paths in the folder, the row numbers their positions in the sorted listing of it.

    The images of a split are decoded once. Resized, as bytes, they are written to a file in ``$VAE_ZOO_CACHE``, or else
    in ``cache`` beside the data files. Later runs read that file, unless an image was added, removed or changed.

    Args:
        folder: The folder.
        image_size: Height and width, or one number for both.
        channels: 1 for grey, 3 for colour.
        crop: Resize the shorter side to fit and crop the longer around the centre; False stretches the whole image.
        val_fraction: Fraction of images for validation, if there is no folder for it.
        test_fraction: Fraction of images for testing, if there is no folder for it.
        split_seed: Seed of the random splits.
        cache: Keep the decoded images in a file; False decodes into memory at every start.
        in_memory_limit: Size in GiB above which a split stays in that file, and batches are read from there.
        num_workers: Decoding threads; None for one per core.
        white_level: Value of white in 16-bit images, for instance 4095 if they use 12 bits; by default 65535.
        kwargs: Arguments of :class:`Images`.

    Raises:
        FileNotFoundError: When the folder is listed, if it does not exist or has no images.
        ValueError: When images are read, if some are unreadable, or the cache cannot be written.
    """

    grey = True  # without decoding them on every rank; black and white ones are hardly so once they are resized

    def __init__(
        self,
        *,
        folder: str,
        image_size: int | tuple[int, int] | list[int] = 64,
        channels: Literal[1, 3] = 3,
        crop: bool = True,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        cache: bool = True,
        in_memory_limit: float = 1.0,
        num_workers: int | None = None,
        white_level: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        if channels not in (1, 3):
            raise ValueError(f"channels must be 1 or 3, got {channels}.")
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if len(size) != 2:
            raise ValueError(f"image_size must be one number or (height, width), got {image_size}.")
        for side in size:
            check_positive("image_size", side)
        self.folder, self.channels, self.crop = Path(folder).expanduser(), channels, crop
        self.image_size: tuple[int, int] = (size[0], size[1])
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}
        self.split_seed, self.cache = split_seed, cache
        self.in_memory_limit = check_limit(in_memory_limit)
        self.white_level = None if white_level is None else check_positive("white_level", white_level)
        self.num_workers = None if num_workers is None else check_positive("num_workers", num_workers)

    @property
    def shape(self) -> Shape:
        return (self.channels, *self.image_size)

    @property
    def num_train(self) -> int:
        return num_left(len(self._found["train"].paths), self._fractions) if "train" in self._found else 0

    @property
    def num_rows(self) -> int:
        return sum(len(listed.paths) for listed in self._found.values())

    @property
    def num_classes(self) -> int | None:
        return len(self.classes) or None

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their labels; empty for images without labels."""
        names = [name for listed in self._found.values() for name in listed.names]
        own = np.array([] if None in names else sorted({name for name in names if name}), str)
        return list(known_labels(own, self.known_classes, str(self.folder)).tolist())

    def prepare_data(self) -> None:
        # One process decodes, and only then do the others open what it has written.
        stage = getattr(getattr(self.trainer, "state", None), "fn", None)
        stage = stage and str(stage.value)
        needed = (self.predict_split,) if stage == "predict" else STAGES.get(stage, SPLITS)
        for split in needed if self.cache else ():
            self._cached(self._all if split == "all" else self._listed(split))

    def dataset(self, split: SplitName) -> Split:
        return self._split(self._listed(split))

    def whole(self) -> Split:
        return self._split(self._all)

    def _split(self, listed: _Listed) -> Split:
        x = load_if_small(Mapped(self._cached(listed)), self.in_memory_limit) if self.cache else self._decoded(listed)
        start = len(str(self.folder)) + 1
        ids = np.array([path[start:].replace(os.sep, "/") for path in listed.paths])
        number = {name: label for label, name in enumerate(self.classes)}
        y = torch.tensor([number[name] for name in listed.names if name]) if number else None
        return Split(x, y, rows=torch.tensor(listed.rows), ids=ids)

    def _blocks(self, listed: _Listed) -> Iterator[np.ndarray]:
        how = {"size": self.image_size, "channels": self.channels, "crop": self.crop, "white_level": self.white_level}
        return read_images(listed.paths, **how, num_workers=self.num_workers)  # type: ignore[arg-type]

    def _cached(self, listed: _Listed) -> np.ndarray:
        how = f"{self.image_size} {self.channels} {self.crop}" + (f" {self.white_level}" if self.white_level else "")
        paths = listed.paths
        return cached_images(self._blocks(listed), paths, self.folder, how=how, shape=(len(paths), *self.shape))

    def _decoded(self, listed: _Listed) -> torch.Tensor:
        images, start = torch.empty(len(listed.paths), *self.shape, dtype=torch.uint8), 0
        for block in self._blocks(listed):
            if len(block):
                images[start : start + len(block)] = torch.from_numpy(block)
                start += len(block)
        return images

    def _listed(self, split: SplitName) -> _Listed:
        """Files of one split.

        Raises:
            FileNotFoundError: If it is to come from a training split that does not exist.
        """
        if split in self._found and (split != "train" or not self._fractions):
            return self._found[split]
        if "train" not in self._found:
            raise FileNotFoundError(
                f"There is no {split} split in {self.folder}, which has only {', '.join(self._found)}."
            )
        return self._drawn[split]

    @cached_property
    def _drawn(self) -> dict[SplitName, _Listed]:
        """Random splits of the files for training."""
        whole = self._found["train"]
        index = random_split(len(whole.paths), self._fractions, self.split_seed, f"{self.folder}")
        return {split: _Listed(*([column[i] for i in rows] for column in whole)) for split, rows in index.items()}

    @property
    def _fractions(self) -> dict[SplitName, float]:
        return {split: part for split, part in self.fractions.items() if split not in self._found}

    @property
    def _all(self) -> _Listed:
        paths, names, rows = (list(chain(*columns)) for columns in zip(*self._found.values(), strict=True))
        return _Listed(paths, names, rows)

    @cached_property
    def _found(self) -> dict[SplitName, _Listed]:
        """Files of the splits that have a folder, or all of them as those of the training split."""
        folder = self.folder
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder}.")
        subfolders = {entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
        if not (subfolders and subfolders <= set(SPLITS)) or subfolders == {"train"}:
            return {"train": _labelled(folder)}
        listing: dict[SplitName, _Listed] = {}
        start = 0
        for split in sorted(SPLITS):
            if split in subfolders:
                listing[split] = _labelled(folder / split, start)
                start += len(listing[split].paths)
        return listing


def _labelled(folder: Path, start: int = 0) -> _Listed:
    paths = list_images(folder)
    if not paths:
        raise FileNotFoundError(f"There are no images in {folder}: files ending in {', '.join(IMAGE_ENDINGS)} count.")
    parts = [path[len(str(folder)) + 1 :].split(os.sep, 1) for path in paths]
    names = [sys.intern(part[0]) if len(part) > 1 else None for part in parts]
    return _Listed(paths, names, list(range(start, start + len(paths))))
