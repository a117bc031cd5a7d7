"""Data sets of torchvision, from small files laid out as those that it downloads."""

from __future__ import annotations

import io
import os
import pickle
import re
import struct
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from torchvision import datasets

from vae_zoo.data import TorchVision
from vae_zoo.data.libraries import torchvision_files
from vae_zoo.security.pickled_arrays import read_arrays

SIZES = {"train": 20, "val": 6, "test": 8}
NAMES = ["MNIST", "FashionMNIST", "KMNIST", "EMNIST", "CIFAR10", "CIFAR100", "SVHN", "Omniglot", "CelebA"]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    monkeypatch.setenv("VAE_ZOO_CACHE", str(tmp_path / "cache"))


class Python2(pickle._Pickler):
    """Writes bytes as the strings of Python 2, as in the files of CIFAR."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_string(self, obj: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(obj)) + obj)
        self.memoize(obj)

    dispatch[bytes] = save_string


def python2(content: Any) -> bytes:
    file = io.BytesIO()
    Python2(file, protocol=2).dump(content)
    return file.getvalue().replace(b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")


def write_idx(folder: Path, begins: dict[str, str], x: dict[str, np.ndarray], y: dict[str, np.ndarray]) -> None:
    folder.mkdir(parents=True)
    for split, begin in begins.items():
        header = np.array([0x803, *x[split].shape], ">i4").tobytes()
        (folder / f"{begin}-images-idx3-ubyte").write_bytes(header + x[split].tobytes())
        header = np.array([0x801, len(y[split])], ">i4").tobytes()
        (folder / f"{begin}-labels-idx1-ubyte").write_bytes(header + y[split].astype(np.uint8).tobytes())


def write(root: Path, name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Files of a data set, and the images and labels that are in them."""
    random = np.random.default_rng(0)
    known = torchvision_files.KNOWN["EMNIST/letters" if name == "EMNIST" else name]
    shape = known.shape
    x = {split: random.integers(0, 256, (num, *shape), np.uint8) for split, num in SIZES.items()}
    y = {split: np.arange(num) % 5 for split, num in SIZES.items()}
    if "MNIST" in name:
        begins = {"train": "train", "test": "t10k"}
        stored = {split: images[:, 0] for split, images in x.items()}
        if name == "EMNIST":
            begins = {split: f"emnist-letters-{split}" for split in begins}
            stored = {split: np.ascontiguousarray(images.transpose(0, 2, 1)) for split, images in stored.items()}
        write_idx(root / name / "raw", begins, stored, {split: y[split] + (name == "EMNIST") for split in y})
    elif name.startswith("CIFAR"):
        ten = name == "CIFAR10"
        folder = root / ("cifar-10-batches-py" if ten else "cifar-100-python")
        folder.mkdir()
        parts = [("test_batch" if ten else "test", x["test"], y["test"])]
        if ten:
            parts += [(f"data_batch_{n + 1}", x["train"][4 * n : 4 * n + 4], y["train"][4 * n :][:4]) for n in range(5)]
        else:
            parts += [("train", x["train"], y["train"])]
        for part, images, labels in parts:
            key = "labels" if ten else "fine_labels"
            content = {
                "batch_label": "a",
                key: labels.tolist(),
                "data": images.reshape(len(images), -1),
                "filenames": ["b"],
            }
            (folder / part).write_bytes(python2(content))
    elif name == "SVHN":
        for split in ("train", "test"):
            labels = np.where(y[split] == 0, 10, y[split])[:, None].astype(np.uint8)
            content = {"X": x[split].transpose(2, 3, 1, 0), "y": labels}
            scipy.io.savemat(root / f"{split}_32x32.mat", content, do_compression=True)
    elif name == "Omniglot":
        for part, split in (("images_background", "train"), ("images_evaluation", "test")):
            for number, (image, label) in enumerate(zip(x[split], y[split], strict=True)):
                folder = root / "omniglot-py" / part / f"Alphabet_{label // 3}" / f"character{label:02}"
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image[0]).save(folder / f"{number:04}.png")
    else:
        (root / "celeba" / "img_align_celeba").mkdir(parents=True)
        lines = []
        for code, split in enumerate(SIZES):
            for number, image in enumerate(x[split]):
                file = f"{split}{number:02}.png"
                Image.fromarray(image.transpose(1, 2, 0)).save(root / "celeba" / "img_align_celeba" / file)
                lines.append(f"{file} {code}\n")
        (root / "celeba" / "list_eval_partition.txt").write_text("".join(lines))
    return x, y


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data sets that are complete with a few images."""
    for name, known in torchvision_files.KNOWN.items():
        sizes = {split: SIZES[split] for split in known.sizes}
        monkeypatch.setitem(torchvision_files.KNOWN, name, known._replace(sizes=sizes))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", NAMES)
def test_images_labels_and_rows_are_those_of_the_files(name: str, tmp_path: Path) -> None:
    x, y = write(tmp_path, name)
    data = TorchVision(name=name, root=str(tmp_path), variant="letters")
    assert data.num_train == (20 if name == "CelebA" else 18)
    assert data.shape == x["train"].shape[1:]
    for split in ("train", "val", "test"):
        loaded = data.load(split)
        source = "train" if split == "val" and name != "CelebA" else split
        rows = torch.arange(SIZES[split]) if loaded.rows is None else loaded.rows
        if name == "Omniglot":  # in the order of the folders
            at = [int(path[-8:-4]) for path in loaded.ids]
            assert all(
                path.split("/")[1] == ("images_evaluation", "images_background")[source == "train"]
                for path in loaded.ids
            )
            assert loaded.y.tolist() == [y[source][n] + (5 if source == "test" else 0) for n in at]
        else:
            at = rows.tolist()
            assert loaded.y is None if name == "CelebA" else loaded.y.tolist() == y[source][at].tolist()
        assert np.array_equal(loaded.x[:].numpy(), x[source][at])
        assert name != "CelebA" or loaded.ids[3] == f"celeba/img_align_celeba/{split}03.png"
    if name != "CelebA":
        both = [data.load(split).rows for split in ("train", "val")]
        assert sorted(torch.cat(both).tolist()) == list(range(20))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["MNIST", "SVHN", "Omniglot"])
def test_resized(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    data = TorchVision(name=name, root=str(tmp_path), image_size=14)
    data.setup()
    assert data.shape[1:] == (14, 14)
    plain = TorchVision(name=name, root=str(tmp_path)).load("test").x.float().mean()
    assert data.load("test").x.float().mean() == pytest.approx(float(plain), abs=3)


def test_the_layout_is_torchvisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own readers give the same images, once their checksums are those of the small files."""
    x, y = write(tmp_path, "CIFAR10")
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda self: None)
    theirs = datasets.CIFAR10(str(tmp_path))
    assert np.array_equal(theirs.data.transpose(0, 3, 1, 2), x["train"])
    assert theirs.targets == y["train"].tolist()
    write(tmp_path, "KMNIST")
    assert np.array_equal(
        datasets.KMNIST(str(tmp_path), train=False).data, write(tmp_path / "b", "KMNIST")[0]["test"][:, 0]
    )


@pytest.mark.parametrize(
    ("name", "variant", "shape", "num_classes", "num_train"),
    [
        ("MNIST", "balanced", (1, 28, 28), 10, 54_000),
        ("EMNIST", "balanced", (1, 28, 28), 47, 101_520),
        ("EMNIST", "byclass", (1, 28, 28), 62, 628_139),
        ("CIFAR10", "balanced", (3, 32, 32), 10, 45_000),
        ("CIFAR100", "balanced", (3, 32, 32), 100, 45_000),
        ("SVHN", "balanced", (3, 32, 32), 10, 65_932),
        ("Omniglot", "balanced", (1, 105, 105), 1623, 17_352),
        ("CelebA", "balanced", (3, 218, 178), None, 162_770),
    ],
)
def test_known_before_reading(name: str, variant: Any, shape: Any, num_classes: Any, num_train: int) -> None:
    data = TorchVision(name=name, variant=variant, root="/nowhere")
    assert (data.shape, data.num_classes, data.num_train) == (shape, num_classes, num_train)
    assert TorchVision(name=name, root="/nowhere", image_size=8).shape[1:] == (8, 8)


def test_sizes_are_those_of_torchvision() -> None:
    for variant in torchvision_files.VARIANTS:
        classes = datasets.EMNIST.classes_split_dict[variant]
        num = len(classes) - (variant == "letters")
        assert torchvision_files.KNOWN[f"EMNIST/{variant}"].num_classes == num
    assert len(datasets.CIFAR10.train_list) == 5
    parts = [part for split in ("train_list", "test_list") for part, _ in getattr(datasets.CIFAR10, split)]
    assert list(torchvision_files.KNOWN["CIFAR10"].files) == [
        f"{datasets.CIFAR10.base_folder}/{part}" for part in parts
    ]
    assert [name for name, _ in datasets.CIFAR100.train_list + datasets.CIFAR100.test_list] == ["train", "test"]


@pytest.mark.parametrize("name", NAMES)
def test_absent_files_without_a_network(name: str, tmp_path: Path) -> None:
    how = "is not downloaded" if name == "CelebA" else "cannot be downloaded"
    with pytest.raises(FileNotFoundError, match=rf"^{name} {how}: put .* into {tmp_path}, or set VAE_ZOO_DATA"):
        TorchVision(name=name, root=str(tmp_path)).prepare_data()
    with pytest.raises(FileNotFoundError, match=rf"^{name} is not there: put"):
        TorchVision(name=name, root=str(tmp_path), download=False).prepare_data()
    missing = tmp_path / "new"
    with pytest.raises(FileNotFoundError, match=name):
        TorchVision(name=name, root=str(missing)).prepare_data()
    assert name == "Omniglot" or not any(path.is_file() for path in tmp_path.rglob("*"))


def test_what_is_missing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: None) -> None:
    from torchvision.datasets import utils

    asked = []

    def fetch(url: str, download_root: str, filename: str, md5: str) -> None:
        asked.append((url, filename, md5))
        write(Path(download_root), "CIFAR10")

    monkeypatch.setattr(utils, "download_and_extract_archive", fetch)
    data = TorchVision(name="CIFAR10", root=str(tmp_path))
    data.prepare_data()
    data.prepare_data()
    assert asked == [(datasets.CIFAR10.url, datasets.CIFAR10.filename, datasets.CIFAR10.tgz_md5)]
    assert len(data.load("train").x) == 18


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"name": "CIFAR"}, "TorchVision has no CIFAR, did you mean CIFAR10?"),
        ({"name": "celeba"}, "TorchVision has no celeba, did you mean CelebA?"),
        ({"name": "Food"}, f"TorchVision has no Food: there is {', '.join(NAMES)}."),
        (
            {"name": "MNIST", "num_val": 60_000},
            "num_val must be below 60000, the number of training images, got 60000.",
        ),
        ({"name": "MNIST", "num_val": 0}, "num_val must be at least 1, got 0."),
        ({"name": "CelebA", "num_val": 5}, "CelebA has a validation split of its own: leave num_val out."),
        (
            {"name": "EMNIST", "variant": "words"},
            "variant must be one of balanced, byclass, bymerge, letters, digits, mn",
        ),
        ({"name": "MNIST", "image_size": 0}, "image_size must be at least 1, got 0."),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        TorchVision(**kwargs)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("name", ["KMNIST", "CIFAR10", "SVHN", "CelebA"])
def test_damaged_files(name: str, tmp_path: Path) -> None:
    write(tmp_path, name)
    path = sorted(path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".png")[0]
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"no such file" * 9):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"truncated|corrupt|must have|no batch") as error:
            TorchVision(name=name, root=str(tmp_path)).setup()
        assert "\n" not in str(error.value)


class Call:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


class TestPickles:
    """What is no array of numbers is refused before it is made."""

    def test_nothing_is_called(self, tmp_path: Path) -> None:
        marker = tmp_path / "executed"
        for evil in (Call(os.mkdir, str(marker)), Call(eval, f"__import__('os').mkdir({str(marker)!r})")):
            for content in (evil, {"data": evil, "labels": [0]}, [evil]):
                (tmp_path / "a").write_bytes(pickle.dumps(content))
                with pytest.raises(
                    ValueError, match=r"a names (posix|nt|builtins)\.\w+, where arrays of numbers are exp"
                ):
                    read_arrays(tmp_path / "a", 2**20)
        assert not marker.exists()

    @pytest.mark.parametrize(
        "text",
        [
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(L1099511627776L\ntS'b'\ntR.",
            b"cnumpy\nndarray\n((L1099511627776L\nttR.",
            b"cnumpy\ndtype\n(S'O8'\ntR.",
            b"cnumpy\ndtype\n(S'V9999999'\ntR.",
            b"cnumpy.core.multiarray\nscalar\n.",
            b"cnumpy\nload\n.",
            b"Pelsewhere\n.",
        ],
    )
    def test_what_numpy_would_make(self, tmp_path: Path, text: bytes) -> None:
        (tmp_path / "a").write_bytes(text)
        with pytest.raises(ValueError, match=r"a .*(refused|corrupt)"):
            read_arrays(tmp_path / "a", 2**20)

    def test_arrays_of_objects(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(pickle.dumps({"data": np.array([None, 1], object)}))
        with pytest.raises(ValueError, match="has an array of O8, where numbers are expected: refused"):
            read_arrays(tmp_path / "a", 2**20)

    def test_a_large_file(self, tmp_path: Path) -> None:
        (tmp_path / "a").write_bytes(bytes(100))
        with pytest.raises(ValueError, match=r"a is of 100 bytes, where at most 99 are expected: refused\."):
            read_arrays(tmp_path / "a", 99)

    @pytest.mark.parametrize("protocol", [2, 3, 4])
    def test_arrays_of_numbers(self, tmp_path: Path, protocol: int) -> None:
        content = {"data": np.arange(12, dtype=np.uint8).reshape(3, 4), "labels": [1, 2, 3], "name": "a"}
        (tmp_path / "a").write_bytes(python2(content) if protocol == 2 else pickle.dumps(content, protocol))
        found = read_arrays(tmp_path / "a", 2**20)
        assert np.array_equal(found["data"], content["data"])
        assert (found["labels"], found["name"]) == ([1, 2, 3], "a")
