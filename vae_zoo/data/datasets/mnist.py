"""MNIST and Fashion-MNIST, from the four idx files of each."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from vae_zoo.data.base.checks import check_positive
from vae_zoo.data.base.paths import data_root
from vae_zoo.data.base.splits import Split, SplitName
from vae_zoo.data.datasets.images import Binarization, Images
from vae_zoo.typing import Shape

_NUM_IMAGES = 60_000
_FILES = tuple(f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1"))


class MNIST(Images):
    """Handwritten digits of 28x28 pixels.

    The last ``num_val`` of the 60,000 training images are the validation split: 10,000 gives the 50,000 / 10,000 /
    10,000 of Tomczak & Welling (2018), 400 the 59,600 / 400 of Burda et al. (2016). Missing files are downloaded.

    References:
        | Gradient-Based Learning Applied to Document Recognition (LeCun et al., 1998)
        | http://yann.lecun.com/exdb/mnist

    Args:
        root: Folder with the idx files in ``MNIST/raw``; None for ``$VAE_ZOO_DATA``, else a folder in the user's cache.
        num_val: Number of training images used for validation.
        binarization: See :class:`Images`.
        kwargs: Arguments of :class:`Images`.

    Raises:
        FileNotFoundError: When the data are read, if they do not exist and cannot be downloaded.
    """

    grey = True
    _name = "MNIST"

    def __init__(
        self, *, root: str | None = None, num_val: int = 10_000, binarization: Binarization = "dynamic", **kwargs: Any
    ) -> None:
        super().__init__(binarization=binarization, **kwargs)
        if check_positive("num_val", num_val) >= _NUM_IMAGES:
            raise ValueError(f"num_val must be below {_NUM_IMAGES}, the number of training images, got {num_val}.")
        self.root, self.num_val = data_root(root), num_val

    @property
    def shape(self) -> Shape:
        return (1, 28, 28)

    @property
    def num_train(self) -> int:
        return _NUM_IMAGES - self.num_val

    @property
    def num_classes(self) -> int:
        return 10

    def prepare_data(self) -> None:
        _ensure(self._name, self.root)

    def dataset(self, split: SplitName) -> Split:
        from torchvision import datasets

        _ensure(self._name, self.root)
        try:
            data = getattr(datasets, self._name)(str(self.root), train=split != "test")
            x, y = data.data.unsqueeze(1), data.targets
        except (RuntimeError, ValueError, AssertionError, OSError) as error:
            folder = _folder(self._name, self.root)
            raise ValueError(f"A file in {folder} is truncated or corrupt: delete the files and fetch anew.") from error
        if split == "test":
            return Split(x, y)
        if len(x) != _NUM_IMAGES:
            raise ValueError(f"{_folder(self._name, self.root)} must have {_NUM_IMAGES} training images, got {len(x)}.")
        part = slice(self.num_train) if split == "train" else slice(self.num_train, None)
        return Split(x[part], y[part], rows=torch.arange(_NUM_IMAGES)[part])


class FashionMNIST(MNIST):
    """Articles of clothing of 28x28 pixels, a drop-in replacement of MNIST.

    References:
        | Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms (Xiao et al., 2017)
        | https://arxiv.org/abs/1708.07747

    Args:
        kwargs: Arguments of :class:`MNIST`; the idx files are in ``FashionMNIST/raw``.
    """

    _name = "FashionMNIST"


def _folder(name: str, root: Path) -> Path:
    return root / name / "raw"


def _missing(name: str, root: Path) -> list[str]:
    return [file for file in _FILES if not (_folder(name, root) / file).is_file()]


def _ensure(name: str, root: Path) -> None:
    """Download missing files."""
    if not _missing(name, root):
        return
    from torchvision import datasets

    folder = _folder(name, root)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        getattr(datasets, name)(str(root), download=True)
    except (RuntimeError, OSError) as error:
        if files := _missing(name, root):
            for path in made:
                with suppress(OSError):  # not empty, or not there
                    path.rmdir()
            what = "its four idx files" if len(files) == len(_FILES) else ", ".join(files)
            raise FileNotFoundError(
                f"{name} cannot be downloaded: put {what} into {folder}, "
                f"or set VAE_ZOO_DATA to a folder that has {name}/raw."
            ) from error
