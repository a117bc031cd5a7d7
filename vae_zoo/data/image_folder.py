"""A user's own folder of image files."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch

from vae_zoo.data.checks import check_fractions, check_positive
from vae_zoo.data.image_files import IMAGE_ENDINGS, list_images, read_images
from vae_zoo.data.images import Images
from vae_zoo.data.splits import Split, SplitName, carve
from vae_zoo.typing import Shape

_SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

Labelled: TypeAlias = tuple[list[Path], list[str | None]]
"""Image files, and for each the name of its class."""


class ImageFolder(Images):
    """Images of a folder, at one size.

    If the folder has a subfolder ``train`` and besides it only ``val`` and ``test``, those are the splits, and one that
    is missing is taken from ``train`` at random. If all images of a split lie in subfolders, the subfolders, sorted by
    name, are the classes; deeper folders may be nested at will. Hidden files and folders are passed over.

    Images of any mode are converted: palettes resolved, 16 bits scaled to 8, transparent pixels laid over black, and
    turned as their EXIF orientation says.

    Args:
        folder: The folder.
        image_size: Height and width, or one number for both.
        channels: 1 for grey, 3 for colour.
        crop: Resize the shorter side to fit and cut the longer from the centre; False squashes the whole image.
        val_fraction: Part of the images that validates, if there is no folder for it.
        test_fraction: Part of the images to test on, if there is no folder for it.
        split_seed: Seed of the random splits.
        kwargs: Arguments of :class:`Images`.

    Raises:
        FileNotFoundError: When the folder is listed, if it is not there or has no images.
        ValueError: When images are read, if some cannot be.
    """

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
        self.split_seed = split_seed

    @property
    def shape(self) -> Shape:
        return (self.channels, *self.image_size)

    @property
    def num_train(self) -> int:
        return len(self._listing["train"][0])

    @property
    def num_classes(self) -> int | None:
        return len(self.classes) or None

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of their labels; none for images without."""
        names = [name for _, labels in self._listing.values() for name in labels]
        return [] if None in names else sorted({name for name in names if name})

    def dataset(self, split: SplitName) -> Split:
        paths, names = self._listing[split]
        x = read_images(paths, size=self.image_size, channels=self.channels, crop=self.crop)
        if not self.classes:
            return Split(x)
        number = {name: label for label, name in enumerate(self.classes)}
        return Split(x, torch.tensor([number[name] for name in names if name]))

    @cached_property
    def _listing(self) -> dict[SplitName, Labelled]:
        folder = self.folder
        if not folder.is_dir():
            raise FileNotFoundError(f"There is no folder {folder}.")
        subfolders = {entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
        explicit = "train" in subfolders and len(subfolders) > 1 and subfolders <= set(_SPLITS)
        listing = {split: _labelled(folder / split) for split in _SPLITS if split in subfolders} if explicit else {}
        paths, names = listing.pop("train") if explicit else _labelled(folder)
        fractions = {split: part for split, part in self.fractions.items() if split not in listing}
        for split, index in carve(len(paths), fractions, self.split_seed, f"{folder}").items():
            listing[split] = [paths[i] for i in index], [names[i] for i in index]
        return listing


def _labelled(folder: Path) -> Labelled:
    paths = list_images(folder)
    if not paths:
        raise FileNotFoundError(f"There are no images in {folder}: files ending in {', '.join(IMAGE_ENDINGS)} count.")
    parts = [path.relative_to(folder).parts for path in paths]
    return paths, [part[0] if len(part) > 1 else None for part in parts]
