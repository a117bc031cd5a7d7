"""dSprites, from its archive."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vae_zoo.data.base.checks import check_limit
from vae_zoo.data.base.mapped import Mapped, load_if_small
from vae_zoo.data.base.paths import data_root
from vae_zoo.data.base.splits import Split, SplitName, split_indices
from vae_zoo.data.datasets.sprites import SpriteImages
from vae_zoo.data.files.image_cache import cached_images
from vae_zoo.security.limits import check_archive
from vae_zoo.typing import Shape

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
_SIDE, _BLOCK = 64, 4096


class DSprites(SpriteImages):
    """White sprites on black of 64x64 pixels, every combination of five factors once: 737,280 images.

    The factors are shape (square, ellipse, heart), scale, rotation, and position in x and in y. Random images are held
    out for validation and testing, whereas papers train on all images. The archive is unpacked
    once, into the cache, where it takes 2.8 GiB.

    References:
        | dSprites: Disentanglement testing Sprites dataset (Matthey et al., 2017)
        | https://github.com/google-deepmind/dsprites-dataset

    Args:
        root: Folder with ``dSprites/dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz``; None for ``$VAE_ZOO_DATA``, else
            a folder in the user's cache.
        num_val: Number of validation images.
        num_test: Number of test images.
        in_memory_limit: Size in GiB above which a split stays in the cache file and is read when needed.
        seed: Seed of the splits.
        kwargs: Arguments of :class:`SpriteImages`.

    Raises:
        ValueError: If a split would have no images; when the data are read, if the file is not that of dSprites.
        FileNotFoundError: When the data are read, if the file does not exist.
    """

    def __init__(
        self,
        *,
        root: str | None = None,
        num_val: int = 10_000,
        num_test: int = 10_000,
        in_memory_limit: float = 4.0,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if min(num_val, num_test) < 1 or num_val + num_test >= self._num_images:
            raise ValueError(f"num_val and num_test must leave images to train on, got {num_val} and {num_test}.")
        self.path = data_root(root) / "dSprites" / FILE
        self.num_val, self.num_test, self.seed = num_val, num_test, seed
        self.in_memory_limit = check_limit(in_memory_limit)

    @property
    def shape(self) -> Shape:
        return (1, _SIDE, _SIDE)

    @property
    def num_train(self) -> int:
        return self._num_images - self.num_val - self.num_test

    def dataset(self, split: SplitName) -> Split:
        if not self.path.is_file():
            raise FileNotFoundError(
                f"There is no {self.path}: put the archive of dSprites there, or set VAE_ZOO_DATA to a folder that has "
                f"dSprites/{FILE}."
            )
        index = split_indices(self._num_images, num_val=self.num_val, num_test=self.num_test, seed=self.seed)[split]
        factors = torch.stack(torch.unravel_index(index, self.factor_sizes), dim=1)  # in their order
        x = Mapped(self._images, index.numpy())
        return Split(load_if_small(x, self.in_memory_limit), self.labels(factors), factors, rows=index)

    def draw(self, factors: Tensor) -> Split:
        index = np.ravel_multi_index(tuple(factors.T.numpy()), self.factor_sizes)
        return Split(Mapped(self._images, index).read(), self.labels(factors), factors)

    @cached_property
    def _images(self) -> np.ndarray:
        """All images of the archive, in the order of their factors, mapped from the cache."""
        shape = (self._num_images, *self.shape)
        return cached_images(self._blocks(), [str(self.path)], self.path.parent, how="dsprites", shape=shape)

    @property
    def _num_images(self) -> int:
        return math.prod(self.factor_sizes)

    def _blocks(self) -> Iterator[np.ndarray]:
        """The images of the archive during unpacking, 0 or 255."""
        wrong = f"{self.path} is truncated or not the archive of dSprites"
        try:
            check_archive(self.path)
            with zipfile.ZipFile(self.path) as archive, archive.open("imgs.npy") as file:
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                if shape != (self._num_images, _SIDE, _SIDE) or dtype != np.uint8:
                    raise ValueError(f"{wrong}: its images are {shape} of {dtype}.")
                for start in range(0, self._num_images, _BLOCK):
                    num = min(_BLOCK, self._num_images - start)
                    block = np.frombuffer(file.read(num * _SIDE**2), np.uint8)
                    yield (block.reshape(num, 1, _SIDE, _SIDE) > 0).astype(np.uint8) * 255
        except (zipfile.BadZipFile, zlib.error, KeyError, EOFError, OSError) as error:
            raise ValueError(f"{wrong}.") from error
