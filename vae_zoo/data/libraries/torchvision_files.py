"""Readers of the data sets of torchvision, from the files that it downloads.

Names, addresses and checksums are torchvision's. Its readers of CIFAR are not used, because they unpickle: of a file
whose MD5 sum is right, but nothing keeps the file from being replaced between the one and the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from vae_zoo.data.files.image_files import list_images
from vae_zoo.security.limits import check_mat
from vae_zoo.security.pickled_arrays import read_arrays
from vae_zoo.typing import Shape

_MOST = 2**29
_IDX = ("images-idx3-ubyte", "labels-idx1-ubyte")


class Images(NamedTuple):
    """Images (N, C, H, W), or the files that they are in, and their labels, (N,), or None."""

    x: np.ndarray | list[str]
    y: np.ndarray | None = None


class Known(NamedTuple):
    """What is known of a data set before any file is read.

    Args:
        shape: Shape of an image.
        num_classes: Number of classes, or None.
        sizes: Images of each split that it has: "train", "test" and perhaps "val".
        files: Files and folders in the folder of data.
        read: Reads a split from that folder.
        fetch: Downloads into that folder; None if it must be fetched by hand.
    """

    shape: Shape
    num_classes: int | None
    sizes: dict[str, int]
    files: Sequence[str]
    read: Callable[[Path, str], Images]
    fetch: Callable[[Path], None] | None


def _idx(folder: str, begins: Mapping[str, str], turned: bool, first: int, root: Path, split: str) -> Images:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    x, y = (root / folder / "raw" / f"{begins[split]}-{kind}" for kind in _IDX)
    images = read_image_file(str(x)).numpy()
    return Images((images.transpose(0, 2, 1) if turned else images)[:, None], read_label_file(str(y)).numpy() - first)


def _cifar(folder: str, parts: dict[str, list[str]], key: str, root: Path, split: str) -> Images:
    x: list[np.ndarray] = []
    y: list[int] = []
    for part in parts[split]:
        path = root / folder / part
        content = read_arrays(path, _MOST)
        held = content if isinstance(content, dict) else {}
        data: Any = held.get("data")
        labels: Any = held.get(key)
        listed = isinstance(data, np.ndarray) and isinstance(labels, list) and len(labels) == len(data)
        if not listed or data.dtype != np.uint8 or data.shape[1:] != (3072,):
            raise ValueError(f"{path} is no batch of CIFAR: it needs data (N, 3072) of bytes and {key}.")
        x.append(data.reshape(-1, 3, 32, 32))
        y += labels
    return Images(np.concatenate(x), np.array(y, np.int64))


def _svhn(root: Path, split: str) -> Images:
    from scipy.io import loadmat

    path = root / f"{split}_32x32.mat"
    check_mat(path, _MOST)
    content = loadmat(path)
    return Images(content["X"].transpose(3, 2, 0, 1), content["y"].reshape(-1).astype(np.int64) % 10)


def _omniglot(root: Path, split: str) -> Images:
    """Files of the background alphabets for training and of the others for testing; a character is a class."""
    paths: list[str] = []
    y: list[int] = []
    start = 0
    for part, name in (("train", "images_background"), ("test", "images_evaluation")):
        folder = root / "omniglot-py" / name
        found = list_images(folder)
        characters = sorted({str(Path(path).parent) for path in found})
        if part == split:
            number = {name: start + label for label, name in enumerate(characters)}
            paths, y = found, [number[str(Path(path).parent)] for path in found]
        start += len(characters)
    return Images(paths, np.array(y))


def _celeba(root: Path, split: str) -> Images:
    folder, part = root / "celeba", {"train": "0", "val": "1", "test": "2"}[split]
    lines = (folder / "list_eval_partition.txt").read_text(encoding="utf-8").splitlines()
    names = [words[0] for line in lines if len(words := line.split()) == 2 and words[1] == part]
    return Images([str(folder / "img_align_celeba" / Path(name).name) for name in names])


def _download(name: str, root: Path, **kwargs: Any) -> None:
    from torchvision import datasets

    getattr(datasets, name)(str(root), download=True, **kwargs)


def _download_cifar(name: str, root: Path) -> None:
    from torchvision import datasets
    from torchvision.datasets.utils import download_and_extract_archive

    cls = getattr(datasets, name)
    download_and_extract_archive(cls.url, str(root), filename=cls.filename, md5=cls.tgz_md5)


def _download_svhn(root: Path) -> None:
    from torchvision.datasets import SVHN
    from torchvision.datasets.utils import download_url

    for part in ("train", "test"):
        url, filename, md5 = SVHN.split_list[part]
        download_url(url, str(root), filename, md5)


def _download_omniglot(root: Path) -> None:
    for background in (True, False):
        _download("Omniglot", root, background=background)


def _idx_set(
    name: str, sizes: tuple[int, int] = (60_000, 10_000), num_classes: int = 10, variant: str = "", first: int = 0
) -> Known:
    begins = {"train": "train", "test": "t10k"}
    if variant:
        begins = {split: f"emnist-{variant}-{split}" for split in begins}
    files = [f"{name}/raw/{begin}-{kind}" for begin in begins.values() for kind in _IDX]
    kwargs: dict[str, Any] = {"split": variant} if variant else {}
    read = partial(_idx, name, begins, bool(variant), first)
    return Known((1, 28, 28), num_classes, _sizes(*sizes), files, read, partial(_download, name, **kwargs))


def _cifar_set(name: str, folder: str, parts: dict[str, list[str]], key: str, num_classes: int) -> Known:
    files = [f"{folder}/{part}" for split in parts.values() for part in split]
    read = partial(_cifar, folder, parts, key)
    return Known((3, 32, 32), num_classes, _sizes(50_000, 10_000), files, read, partial(_download_cifar, name))


def _sizes(train: int, test: int) -> dict[str, int]:
    return {"train": train, "test": test}


_CIFAR10 = {"train": [f"data_batch_{n}" for n in range(1, 6)], "test": ["test_batch"]}
_EMNIST = {
    "balanced": ((112_800, 18_800), 47, 0),
    "byclass": ((697_932, 116_323), 62, 0),
    "bymerge": ((697_932, 116_323), 47, 0),
    "letters": ((124_800, 20_800), 26, 1),
    "digits": ((240_000, 40_000), 10, 0),
    "mnist": ((60_000, 10_000), 10, 0),
}

VARIANTS = tuple(_EMNIST)
"""Variants of EMNIST."""

KNOWN: dict[str, Known] = {
    "MNIST": _idx_set("MNIST"),
    "FashionMNIST": _idx_set("FashionMNIST"),
    "KMNIST": _idx_set("KMNIST"),
    **{
        f"EMNIST/{variant}": _idx_set("EMNIST", sizes, num_classes, variant, first)
        for variant, (sizes, num_classes, first) in _EMNIST.items()
    },
    "CIFAR10": _cifar_set("CIFAR10", "cifar-10-batches-py", _CIFAR10, "labels", 10),
    "CIFAR100": _cifar_set("CIFAR100", "cifar-100-python", {"train": ["train"], "test": ["test"]}, "fine_labels", 100),
    "SVHN": Known(
        (3, 32, 32), 10, _sizes(73_257, 26_032), ["train_32x32.mat", "test_32x32.mat"], _svhn, _download_svhn
    ),
    "Omniglot": Known(
        (1, 105, 105),
        1623,
        _sizes(19_280, 13_180),
        ["omniglot-py/images_background", "omniglot-py/images_evaluation"],
        _omniglot,
        _download_omniglot,
    ),
    "CelebA": Known(
        (3, 218, 178),
        None,
        {"train": 162_770, "val": 19_867, "test": 19_962},
        ["celeba/img_align_celeba", "celeba/list_eval_partition.txt"],
        _celeba,
        None,
    ),
}
"""Data sets by name; variants of EMNIST by ``EMNIST/variant``."""


def ensure(name: str, known: Known, root: Path, download: bool) -> None:
    """Download missing files.

    Raises:
        FileNotFoundError: If some are still missing.
    """
    if not (missing := _missing(known, root)):
        return
    made = [path for path in (root, *root.parents) if not path.exists()]
    error: BaseException | None = None
    if download and known.fetch is not None:
        root.mkdir(parents=True, exist_ok=True)
        try:
            known.fetch(root)
        except (RuntimeError, OSError) as failed:
            error = failed
        if not (missing := _missing(known, root)):
            return
        for path in made:
            with suppress(OSError):  # not empty, or not there
                path.rmdir()
    what = ", ".join(missing[:2]) + (f" and {len(missing) - 2} more" if len(missing) > 2 else "")
    how = "is not there" if not download else "cannot be downloaded" if known.fetch else "is not downloaded"
    raise FileNotFoundError(
        f"{name} {how}: put {what} into {root}, or set VAE_ZOO_DATA to a folder that has it."
    ) from error


def _missing(known: Known, root: Path) -> list[str]:
    return [name for name in known.files if not (root / name).exists()]


def read(name: str, known: Known, root: Path, split: str) -> Images:
    """A split, with the number of images that it should have.

    Raises:
        ValueError: If a file is damaged, or images are missing.
    """
    try:
        found = known.read(root, split)
    except Exception as error:  # readers of damaged files raise nearly anything
        if str(error).startswith(str(root)):
            raise
        raise ValueError(f"A file of {name} in {root} is truncated or corrupt: delete and fetch it anew.") from error
    if len(found.x) != known.sizes[split]:
        raise ValueError(f"{name} in {root} must have {known.sizes[split]} {split} images, got {len(found.x)}.")
    return found


def resized(x: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """Images (N, C, H, W) of bytes resized, the longer side cropped around the centre."""
    from PIL import Image, ImageOps

    out = np.empty((*x.shape[:2], *size), np.uint8)
    for number, image in enumerate(x):
        picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
        fitted = np.asarray(ImageOps.fit(picture, size[::-1], Image.Resampling.BICUBIC))
        out[number] = fitted if fitted.ndim == 2 else fitted.transpose(2, 0, 1)
    return torch.from_numpy(out)
