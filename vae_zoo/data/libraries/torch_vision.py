"""Data sets of torchvision by name."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any, Literal

import numpy as np
import torch

from vae_zoo.data.base.checks import check_limit, check_positive
from vae_zoo.data.base.mapped import Mapped, load_if_small
from vae_zoo.data.base.paths import data_root
from vae_zoo.data.base.splits import Split, SplitName, split_indices
from vae_zoo.data.datasets.images import Images
from vae_zoo.data.files.image_cache import cached_images
from vae_zoo.data.files.image_files import read_images
from vae_zoo.data.libraries import torchvision_files as files
from vae_zoo.typing import Shape

Variant = Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"]


class TorchVision(Images):
    """A data set of torchvision: MNIST, FashionMNIST, KMNIST, EMNIST, CIFAR10, CIFAR100, SVHN, Omniglot or CelebA.

    Files are where torchvision puts them, and missing ones are downloaded, except those of CelebA. They are read
    without running code in them: the pickles of CIFAR may hold arrays of numbers only. Shape, classes and sizes are
    known before any file is read.

    The validation split is drawn from the training images, except that CelebA has its own. Images of EMNIST are
    upright. Omniglot has the background alphabets for training and the others for testing, and its classes are the
    characters of both. CelebA has no labels. Images of these two are cached like those of :class:`ImageFolder`.

    Args:
        name: Name of the data set.
        root: Folder of the data files; None for ``$VAE_ZOO_DATA``, else a folder in the user's cache.
        variant: Which images and classes of EMNIST.
        image_size: Height and width to which images are resized, cropped around the centre; None for their own.
        num_val: Number of training images used for validation; None for a tenth.
        split_seed: Seed of the draw of the validation split.
        download: Whether to download missing files.
        in_memory_limit: Size in GiB above which the images of Omniglot or CelebA stay in their cache.
        kwargs: Arguments of :class:`Images`.

    Raises:
        ValueError: If there is no such data set; when the data are read, if a file is damaged.
        FileNotFoundError: When the data are read, if they do not exist and cannot be downloaded.
    """

    grey = True
    sources = ("name", "root", "variant")

    def __init__(
        self,
        *,
        name: str,
        root: str | None = None,
        variant: Variant = "balanced",
        image_size: int | None = None,
        num_val: int | None = None,
        split_seed: int = 0,
        download: bool = True,
        in_memory_limit: float = 1.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        names = list(dict.fromkeys(known.partition("/")[0] for known in files.KNOWN))
        if name not in names:
            near = get_close_matches(name.lower(), [known.lower() for known in names], 1)
            close = [known for known in names if near and known.lower() == near[0]]
            hint = f", did you mean {close[0]}?" if close else f": there is {', '.join(names)}."
            raise ValueError(f"TorchVision has no {name}{hint}")
        if variant not in files.VARIANTS:
            raise ValueError(f"variant must be one of {', '.join(files.VARIANTS)}, got {variant!r}.")
        self.chosen, self.root, self.variant = name, data_root(root), variant
        self.known = files.KNOWN[f"EMNIST/{variant}" if name == "EMNIST" else name]
        self.image_size = None if image_size is None else check_positive("image_size", image_size)
        num = self.known.sizes["train"]
        if num_val is not None and "val" in self.known.sizes:
            raise ValueError(f"{name} has a validation split of its own: leave num_val out.")
        self.num_val = num // 10 if num_val is None else check_positive("num_val", num_val)
        if self.num_val >= num:
            raise ValueError(f"num_val must be below {num}, the number of training images, got {num_val}.")
        self.split_seed, self.download, self.in_memory_limit = split_seed, download, check_limit(in_memory_limit)

    @property
    def shape(self) -> Shape:
        size = self.image_size
        return self.known.shape if size is None else (self.known.shape[0], size, size)

    @property
    def num_train(self) -> int:
        return self.known.sizes["train"] - (0 if "val" in self.known.sizes else self.num_val)

    @property
    def num_classes(self) -> int | None:
        return self.known.num_classes

    def prepare_data(self) -> None:
        files.ensure(self.chosen, self.known, self.root, self.download)

    def dataset(self, split: SplitName) -> Split:
        self.prepare_data()
        part = split if split in self.known.sizes else "train"
        found = files.read(self.chosen, self.known, self.root, part)
        rows = self._rows(split)
        index = np.arange(len(found.x)) if rows is None else rows.numpy()
        y = None if found.y is None else torch.from_numpy(found.y[index].astype(np.int64))
        if isinstance(found.x, np.ndarray):
            x = found.x[index]
            size = self.shape[1:]
            return Split(
                torch.from_numpy(x) if x.shape[2:] == size else files.resized(x, (size[0], size[1])), y, rows=rows
            )
        x, start = load_if_small(Mapped(self._decoded(found.x), index), self.in_memory_limit), len(str(self.root)) + 1
        ids = np.array([found.x[row][start:].replace(os.sep, "/") for row in index])
        return Split(x, y, rows=rows, ids=ids)

    def _rows(self, split: SplitName) -> torch.Tensor | None:
        """Rows of the training images that are in a split; None for all of a split of its own."""
        if split == "test" or "val" in self.known.sizes:
            return None
        num = self.known.sizes["train"]
        return split_indices(num, num_val=self.num_val, num_test=0, seed=self.split_seed)[split]

    def _decoded(self, paths: list[str]) -> np.ndarray:
        channels, height, width = self.shape
        blocks = read_images(paths, size=(height, width), channels=channels, crop=True)
        shape = (len(paths), channels, height, width)
        return cached_images(blocks, paths, self.root, how=f"{(height, width)} {channels} True", shape=shape)
