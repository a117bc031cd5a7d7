"""Image files in a folder of the user."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn

from vae_zoo.data.base.checks import check_fractions, check_limit, check_positive
from vae_zoo.data.base.labels import known_labels
from vae_zoo.data.base.mapped import Mapped, load_if_small
from vae_zoo.data.base.splits import SPLITS, STAGES, Split, SplitName, num_left, random_split
from vae_zoo.data.datasets.images import Images
from vae_zoo.data.files.image_cache import cached_images
from vae_zoo.data.files.image_files import IMAGE_ENDINGS, check_colour, list_images, named, read_images
from vae_zoo.typing import Shape

_TRAINING = {"train", "training"}
_HELD_OUT = {"val", "valid", "validation", "dev", "test", "testing"}
"""How folders of splits are named, in any case."""

_Images: TypeAlias = tuple[torch.Tensor | Mapped, dict[int, str]]
"""Images, and why some files are none, by their number."""


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
    at will. Hidden files and folders are ignored, links to folders are followed.

    Images of any size and mode are converted: palettes are resolved, 16 bits are scaled to 8 by ``white_level``,
    transparent pixels are blended onto ``background``, and the EXIF orientation is applied.

    The ids of images are their paths in the folder, the row numbers their positions in the sorted listing of it.

    The images of a split are decoded once. Resized, as bytes, they are written to a file in ``$VAE_ZOO_CACHE``, or else
    in ``cache`` beside the data files. Later runs read that file, unless an image was added, removed or changed.

    Args:
        folder: The folder.
        image_size: Height and width, or one number for both.
        channels: 1 for grey, 3 for colour, 4 for colour and opacity. Colours that are fully transparent are set to 0.
        background: Colour behind transparent pixels of 1 or 3 channels, a name such as ``white``, or ``ff8000``.
        crop: Resize the shorter side to fit and crop the longer around the centre; False stretches the whole image.
        val_fraction: Fraction of images for validation, if there is no folder for it.
        test_fraction: Fraction of images for testing, if there is no folder for it.
        split_seed: Seed of the random splits.
        cache: Keep the decoded images in a file; False decodes into memory at every start.
        in_memory_limit: Size in GiB above which a split stays in that file, and batches are read from there.
        num_workers: Decoding threads; None for one per core.
        white_level: Value of white in 16-bit images, for instance 4095 if they use 12 bits; by default 65535.
        class_depth: Number of folders that make a class: 2 for classes such as ``bird/owl`` of ``bird/owl/1.png``; 0
            for no classes.
        bad_files: "error" refuses folders with files that cannot be read; "skip" leaves these files out and warns of
            them. Splits are drawn before, so that they do not depend on what can be read. Training images are then
            decoded to count them, on several devices by each process that finds no cache.
        kwargs: Arguments of :class:`Images`, among them ``flip`` and ``shift``, the augmentation.

    Raises:
        FileNotFoundError: When the folder is listed, if it does not exist or has no images.
        ValueError: If the background is no colour; when the folder is listed, if an image is in fewer folders than
            ``class_depth`` greater than 1; when images are read, if some or all are unreadable, or the cache cannot be
            written.
    """

    grey = True  # without decoding them on every rank; black and white ones are hardly so once they are resized

    def __init__(
        self,
        *,
        folder: str,
        image_size: int | tuple[int, int] | list[int] = 64,
        channels: Literal[1, 3, 4] = 3,
        background: str = "black",
        crop: bool = True,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        cache: bool = True,
        in_memory_limit: float = 1.0,
        num_workers: int | None = None,
        white_level: int | None = None,
        class_depth: int = 1,
        bad_files: Literal["error", "skip"] = "error",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        check_colour(background)
        if channels not in (1, 3, 4):
            raise ValueError(f"channels must be 1, 3 or 4, got {channels}.")
        if class_depth < 0:
            raise ValueError(f"class_depth must be at least 0, got {class_depth}.")
        if bad_files not in ("error", "skip"):
            raise ValueError(f"bad_files must be error or skip, got {bad_files!r}.")
        size = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
        if len(size) != 2:
            raise ValueError(f"image_size must be one number or (height, width), got {image_size}.")
        for side in size:
            check_positive("image_size", side)
        self.folder, self.channels, self.crop = Path(folder).expanduser(), channels, crop
        self.image_size: tuple[int, int] = (size[0], size[1])
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}
        self.background, self.class_depth, self.bad_files = background, class_depth, bad_files
        self.split_seed, self.cache = split_seed, cache
        self._ahead: dict[str, _Images] = {}
        self.in_memory_limit = check_limit(in_memory_limit)
        self.white_level = None if white_level is None else check_positive("white_level", white_level)
        self.num_workers = None if num_workers is None else check_positive("num_workers", num_workers)

    @property
    def shape(self) -> Shape:
        return (self.channels, *self.image_size)

    @property
    def num_train(self) -> int:
        num = num_left(len(self._found["train"].paths), self._fractions) if "train" in self._found else 0
        if self.bad_files == "error" or not num:
            return num
        if "train" in self._splits:
            return len(self._splits["train"].x)
        if "train" not in self._ahead:
            self._ahead["train"] = self._read_images(self._listed("train"))
        return len(self._ahead["train"][0])

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
        whole = self.partly_labelled or None not in names
        own = np.array(sorted({name for name in names if name}) if whole else [], str)
        return list(known_labels(own, self.known_classes, str(self.folder), "set class_depth to 0").tolist())

    def prepare_data(self) -> None:
        # One process decodes, and only then do the others open what it has written.
        stage = getattr(getattr(self.trainer, "state", None), "fn", None)
        stage = stage and str(stage.value)
        needed = (self.predict_split,) if stage == "predict" else STAGES.get(stage, SPLITS)
        for split in needed if self.cache else ():
            self._cached(self._all if split == "all" else self._listed(split), {})

    def dataset(self, split: SplitName) -> Split:
        return self._split(self._listed(split), self._ahead.pop(split, None))

    def whole(self) -> Split:
        return self._split(self._all)

    def _split(self, listed: _Listed, read: _Images | None = None) -> Split:
        x, bad = read or self._read_images(listed)
        if bad:
            skipped = f"{len(bad)} of {len(listed.paths)} images are skipped: {named(bad, listed.paths)}."
            rank_zero_warn(skipped, stacklevel=2)
            listed = _Listed(*([column[n] for n in _kept(listed, bad)] for column in listed))
        start = len(str(self.folder)) + 1
        ids = np.array([path[start:].replace(os.sep, "/") for path in listed.paths])
        number = {name: label for label, name in enumerate(self.classes)}
        y = torch.tensor([number[name] if name else -1 for name in listed.names]) if number else None
        return Split(x, y, rows=torch.tensor(listed.rows), ids=ids)

    def _read_images(self, listed: _Listed) -> _Images:
        """Images of the files that can be read, and the others."""
        bad: dict[int, str] = {}
        if not self.cache:
            whole = self._decoded(listed, bad)
            return (whole[torch.from_numpy(_kept(listed, bad))] if bad else whole), bad
        cached = self._cached(listed, bad)
        return load_if_small(Mapped(cached, _kept(listed, bad) if bad else None), self.in_memory_limit), bad

    def _blocks(self, listed: _Listed, bad: dict[int, str]) -> Iterator[np.ndarray]:
        skipped = bad if self.bad_files == "skip" else None
        how: dict[str, Any] = {
            "size": self.image_size,
            "channels": self.channels,
            "crop": self.crop,
            "white_level": self.white_level,
        }
        how |= {"background": self.background, "num_workers": self.num_workers}
        return read_images(listed.paths, **how, skipped=skipped)

    def _cached(self, listed: _Listed, bad: dict[int, str]) -> np.ndarray:
        skip, paths = self.bad_files == "skip", listed.paths
        changed = {"white_level": self.white_level, "background": self.background, "skip": skip or None}
        usual = {"background": "black"}
        how = [f"{self.image_size} {self.channels} {self.crop}"]
        how += [str(value) for name, value in changed.items() if value != usual.get(name)]
        return cached_images(
            self._blocks(listed, bad),
            paths,
            self.folder,
            how=" ".join(how),
            shape=(len(paths), *self.shape),
            skipped=bad if skip else None,
        )

    def _decoded(self, listed: _Listed, bad: dict[int, str]) -> torch.Tensor:
        images, start = torch.empty(len(listed.paths), *self.shape, dtype=torch.uint8), 0
        for block in self._blocks(listed, bad):
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
        named = {name.lower() for name in subfolders}
        if named & _TRAINING and named & _HELD_OUT and not subfolders <= set(SPLITS):
            raise ValueError(
                f"{folder} holds the folders {', '.join(sorted(subfolders)[:8])}, which look like splits and would be "
                "read as classes: name them train, val and test, with no others beside them."
            )
        if not (subfolders and subfolders <= set(SPLITS)) or subfolders == {"train"}:
            return {"train": _labelled(folder, self.class_depth)}
        listing: dict[SplitName, _Listed] = {}
        start = 0
        for split in sorted(SPLITS):
            if split in subfolders:
                listing[split] = _labelled(folder / split, self.class_depth, start)
                start += len(listing[split].paths)
        return listing


def _kept(listed: _Listed, bad: Mapping[int, str]) -> np.ndarray:
    return np.array([number for number in range(len(listed.paths)) if number not in bad])


def _labelled(folder: Path, depth: int, start: int = 0) -> _Listed:
    paths = list_images(folder)
    if not paths:
        raise FileNotFoundError(f"There are no images in {folder}: files ending in {', '.join(IMAGE_ENDINGS)} count.")
    folders = [path[len(str(folder)) + 1 :].split(os.sep)[:-1] for path in paths]
    if depth > 1 and (shallow := [path for path, above in zip(paths, folders, strict=True) if len(above) < depth]):
        raise ValueError(f"class_depth {depth} needs images that are {depth} folders deep, got {shallow[0]}.")
    names = [sys.intern("/".join(above[:depth])) if len(above) >= depth > 0 else None for above in folders]
    return _Listed(paths, names, list(range(start, start + len(paths))))
