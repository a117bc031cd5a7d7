from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from vae_zoo.data import ImageFolder


def save(path: Path, colour: Any = 128, mode: str = "L", size: tuple[int, int] = (8, 8), **kwargs: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(path, **kwargs)


def whole(folder: Path, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """All splits together."""
    data = ImageFolder(folder=str(folder), **{"image_size": 8, **kwargs})
    data.setup()
    splits = [data.load(split) for split in ("train", "val", "test")]
    y = None if splits[0].y is None else torch.cat([split.y for split in splits])
    return torch.cat([split.x for split in splits]), y


def test_without_classes(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / f"{number}.png", number)
    save(tmp_path / "deep" / "er" / "10.JPG", 10)
    (tmp_path / "notes.txt").write_text("no image")
    save(tmp_path / ".hidden.png")
    save(tmp_path / ".cache" / "hidden.png")
    data = ImageFolder(folder=str(tmp_path), image_size=(4, 6), val_fraction=0.2)
    assert (data.shape, data.num_train, data.num_classes) == ((3, 4, 6), 8, None)
    x, y = whole(tmp_path)
    assert sorted(x[:, 0, 0, 0].tolist()) == list(range(11))
    assert y is None


def test_classes(tmp_path: Path) -> None:
    for number in range(12):
        save(tmp_path / ("cat", "ant", "bee")[number % 3] / f"sub{number % 2}" / f"{number}.png", number)
    data = ImageFolder(folder=str(tmp_path))
    assert data.classes == ["ant", "bee", "cat"]
    assert data.num_classes == 3
    x, y = whole(tmp_path)
    assert y is not None
    assert {(int(n) % 3, int(label)) for n, label in zip(x[:, 0, 0, 0], y, strict=True)} == {(0, 2), (1, 0), (2, 1)}


def test_splits_are_seeded(tmp_path: Path) -> None:
    for number in range(30):
        save(tmp_path / f"{number}.png", number)
    first, same, other = (whole(tmp_path, split_seed=seed)[0][:, 0, 0, 0].tolist() for seed in (0, 0, 1))
    assert first == same != other
    assert sorted(first) == sorted(other) == list(range(30))


def test_explicit_splits(tmp_path: Path) -> None:
    for split, numbers in (("train", range(4)), ("val", range(4, 6)), ("test", range(6, 9))):
        for number in numbers:
            save(tmp_path / split / "ab"[number % 2] / f"{number}.png", number)
    data = ImageFolder(folder=str(tmp_path), image_size=8)
    assert data.num_train == 4
    assert data.load("test").x[:, 0, 0, 0].sort().values.tolist() == [6, 7, 8]
    assert data.load("val").y.tolist() == [0, 1]


def test_missing_explicit_split_is_taken_from_train(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / ("test" if number > 7 else "train") / f"{number}.png", number)
    data = ImageFolder(folder=str(tmp_path), image_size=8)
    assert [len(data.load(split).x) for split in ("train", "val", "test")] == [7, 1, 2]


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Train", "Test"), ("train", "test", "masks")])
def test_folders_that_look_like_splits_are_not_read_as_classes(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        for number in range(4):
            save(tmp_path / name / f"{number}.png")
    with pytest.raises(ValueError, match=r"which look like splits and would be read as classes: name them train, val"):
        ImageFolder(folder=str(tmp_path), image_size=8).load("train")


@pytest.mark.parametrize(("level", "message"), [(200_000, "beyond 16 bits: set white_level"), (-3, "negative pixels")])
def test_integers_beyond_16_bits_are_refused(tmp_path: Path, level: int, message: str) -> None:
    for number in range(10):
        save(tmp_path / f"{number}.tif", level, mode="I")
    with pytest.raises(ValueError, match=message):
        whole(tmp_path, channels=1)
    if level > 0:
        assert (whole(tmp_path, channels=1, white_level=level)[0] == 255).all()


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("train", "bus", "car"):
        save(tmp_path / name / "a.png")
    assert ImageFolder(folder=str(tmp_path)).classes == ["bus", "car", "train"]


def test_grey(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.png", (255, 255, 255), "RGB")
    x, _ = whole(tmp_path, channels=1)
    assert x.shape == (3, 1, 8, 8)
    assert x.unique().tolist() == [255]


def check_one_line(folder: Path, kind: type[Exception], pattern: str) -> None:
    with pytest.raises(kind, match=f"^{pattern}$") as error:
        ImageFolder(folder=str(folder), image_size=8).setup()
    assert "\n" not in str(error.value)


def test_no_folder(tmp_path: Path) -> None:
    check_one_line(tmp_path / "none", FileNotFoundError, rf"There is no folder {tmp_path}/none\.")


def test_no_images(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("")
    check_one_line(tmp_path, FileNotFoundError, rf"There are no images in {tmp_path}: .*\.jpg, .* count\.")


def test_too_few_images(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    check_one_line(tmp_path, ValueError, rf"{tmp_path} has 1 examples, too few for train, val, test splits\.")


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"image_size": 0}, "image_size must be at least 1, got 0."),
        ({"image_size": (8, -1)}, "image_size must be at least 1, got -1."),
        ({"image_size": [8, 8, 3]}, "image_size must be one number or (height, width), got [8, 8, 3]."),
        ({"channels": 2}, "channels must be 1, 3 or 4, got 2."),
        ({"background": "mauvve"}, "background must be a colour such as white or ff8000, got 'mauvve'."),
        ({"class_depth": -1}, "class_depth must be at least 0, got -1."),
        ({"bad_files": "hide"}, "bad_files must be error or skip, got 'hide'."),
        ({"val_fraction": 0.0}, "val_fraction must lie between 0 and 1, got 0.0."),
        ({"test_fraction": 1.5}, "test_fraction must lie between 0 and 1, got 1.5."),
        ({"val_fraction": 0.5, "test_fraction": 0.5}, "val_fraction + test_fraction must be below 1, got 1.0."),
    ],
)
def test_bad_arguments(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        ImageFolder(folder="a", **kwargs)


def test_linked_folders(tmp_path: Path) -> None:
    """They count like others, and one that leads to a folder above it ends there."""
    for number in range(6):
        save(tmp_path / "elsewhere" / "deep" / f"{number}.png", number)
        save(tmp_path / "images" / "own" / f"{number}.png", 10 + number)
    (tmp_path / "images" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "own" / "loop").symlink_to(tmp_path / "images")
    data = ImageFolder(folder=str(tmp_path / "images"), image_size=8)
    assert data.classes == ["linked", "own"]
    x, y = whole(tmp_path / "images")
    assert sorted(zip(x[:, 0, 0, 0].tolist(), y.tolist(), strict=True)) == [
        *((number, 0) for number in range(6)),
        *((number, 1) for number in range(10, 16)),
    ]


def test_classes_two_folders_deep(tmp_path: Path) -> None:
    for number, name in enumerate(["bird/owl", "bird/wren", "fish/cod", "fish/cod/young"]):
        for copy in range(3):
            save(tmp_path / name / f"{copy}.png", number)
    assert ImageFolder(folder=str(tmp_path)).classes == ["bird", "fish"]
    assert ImageFolder(folder=str(tmp_path), class_depth=0).num_classes is None
    deep = ImageFolder(folder=str(tmp_path), class_depth=2, image_size=8)
    assert deep.classes == ["bird/owl", "bird/wren", "fish/cod"]
    x, y = whole(tmp_path, class_depth=2)
    assert {*zip(x[:, 0, 0, 0].tolist(), y.tolist(), strict=True)} == {(0, 0), (1, 1), (2, 2), (3, 2)}
    message = rf"^class_depth 3 needs images that are 3 folders deep, got {tmp_path}/bird/owl/0\.png\.$"
    with pytest.raises(ValueError, match=message):
        _ = ImageFolder(folder=str(tmp_path), class_depth=3).classes


@pytest.fixture
def half_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Thirty images, of which every third cannot be read."""
    monkeypatch.setenv("VAE_ZOO_CACHE", str(tmp_path / "cache"))
    for number in range(30):
        save(tmp_path / "images" / f"{number:02}.png", number)
        if number % 3 == 0:
            (tmp_path / "images" / f"{number:02}.png").write_text("no image")
    return tmp_path / "images"


@pytest.mark.parametrize("kwargs", [{}, {"cache": False}, {"in_memory_limit": 0.0}])
def test_skipped_files(half_bad: Path, kwargs: dict[str, Any]) -> None:
    (half_bad / "30.png").symlink_to(half_bad / "nowhere.png")
    said = r"^\d+ of \d+ images are skipped: .*images/\d\d\.png \(truncated, corrupt or no image\)"
    for _ in range(2):  # from the files, and from the cache
        data = ImageFolder(folder=str(half_bad), image_size=8, bad_files="skip", **kwargs)
        num_train = data.num_train
        with pytest.warns(UserWarning, match=said):
            data.setup()
        assert num_train == data.num_train == len(data.load("train").x)
        seen = []
        for split in ("train", "val", "test"):
            loaded = data.load(split)
            for x, row, name in zip(loaded.x[:], loaded.rows, loaded.ids, strict=True):
                assert int(x[0, 0, 0]) == int(row) == int(name[:2])
                seen.append(int(row))
        assert sorted(seen) == [number for number in range(30) if number % 3]


def test_files_are_skipped_only_if_asked(half_bad: Path) -> None:
    data = ImageFolder(folder=str(half_bad), image_size=8, bad_files="skip")
    with pytest.warns(UserWarning, match="skipped"):
        data.setup()
    said = r"images cannot be read: .*: mend or remove them, or set bad_files to skip\.$"
    with pytest.raises(ValueError, match=said):
        ImageFolder(folder=str(half_bad), image_size=8).setup()
    for path in half_bad.iterdir():
        path.write_text("no image")
    with pytest.raises(ValueError, match=r"^24 of 24 images cannot be read: .* and 21 more\.$"):
        ImageFolder(folder=str(half_bad), image_size=8, bad_files="skip").setup()


def test_a_skipping_cache_that_is_damaged_is_made_anew(half_bad: Path, tmp_path: Path) -> None:
    for cut in (None, 3, 400):
        for path in (tmp_path / "cache").rglob("*.npy") if cut else ():
            path.write_bytes(path.read_bytes()[:-cut])
        data = ImageFolder(folder=str(half_bad), image_size=8, bad_files="skip")
        with pytest.warns(UserWarning, match="skipped"):
            split = data.load("train")
        assert split.x[:, 0, 0, 0].tolist() == split.rows.tolist()
