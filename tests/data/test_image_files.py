from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from vae_zoo.data import ImageFolder
from vae_zoo.data.files import image_files

from .test_image_folder import check_one_line, save


def read(
    path: Path, size: tuple[int, int], *, channels: int = 1, crop: bool = True, white_level: int | None = None
) -> torch.Tensor:
    how = {"channels": channels, "crop": crop, "white_level": white_level}
    (block,) = image_files.read_images([path], size=size, **how)
    return torch.from_numpy(block[0])


def one(folder: Path, image: Image.Image, name: str = "a.png", **kwargs: Any) -> torch.Tensor:
    """One image, saved and read."""
    folder.mkdir(exist_ok=True)
    image.save(folder / name, **kwargs)
    return read(folder / name, (image.height, image.width), channels=3)


def test_crop_and_squash(tmp_path: Path) -> None:
    bands = np.zeros((8, 24), np.uint8)
    bands[:, 8:16], bands[:, 16:] = 100, 200
    Image.fromarray(bands).save(tmp_path / "a.png")
    images = {crop: read(tmp_path / "a.png", (8, 8), crop=crop) for crop in (False, True)}
    assert images[True].unique().tolist() == [100]
    assert images[False][0, 0, [0, 7]].tolist() == pytest.approx([0, 200], abs=12)


def test_modes(tmp_path: Path) -> None:
    red = (200, 10, 20)
    rgb = Image.new("RGB", (4, 4), red)
    assert one(tmp_path, rgb)[:, 0, 0].tolist() == [*red]
    assert one(tmp_path, rgb.convert("P", palette=Image.Palette.ADAPTIVE))[:, 0, 0].tolist() == [*red]
    assert one(tmp_path, rgb.convert("P", palette=Image.Palette.ADAPTIVE), "a.gif")[:, 0, 0].tolist() == [*red]
    assert one(tmp_path, Image.new("RGBA", (4, 4), (*red, 255)))[:, 0, 0].tolist() == [*red]
    assert one(tmp_path, Image.new("RGBA", (4, 4), (*red, 0)))[:, 0, 0].tolist() == [0, 0, 0]
    assert one(tmp_path, Image.new("LA", (4, 4), (90, 255)))[:, 0, 0].tolist() == [90, 90, 90]
    assert one(tmp_path, Image.new("1", (4, 4), 1))[:, 0, 0].tolist() == [255, 255, 255]
    cmyk = one(tmp_path, rgb.convert("CMYK"), "a.jpg", quality=100)[:, 0, 0].tolist()
    assert cmyk == pytest.approx([*red], abs=6)
    levels = Image.fromarray(np.full((4, 4), 300 * 257 // 3, np.uint16))
    assert one(tmp_path, levels)[:, 0, 0].tolist() == [100, 100, 100]
    palette = rgb.convert("P", palette=Image.Palette.ADAPTIVE)
    assert one(tmp_path, palette, transparency=bytes([0] * 256))[:, 0, 0].tolist() == [0, 0, 0]


class TestTransparency:
    half = Image.new("RGBA", (4, 4), (200, 0, 100, 51))  # a fifth

    @pytest.mark.parametrize(
        ("background", "expected"), [("black", [40, 0, 20]), ("white", [244, 204, 224]), ("ff8000", [244, 102, 20])]
    )
    def test_blended_onto_the_background(self, tmp_path: Path, background: str, expected: list[int]) -> None:
        self.half.save(tmp_path / "a.png")
        read_as = partial(image_files.read_images, [tmp_path / "a.png"], size=(4, 4), crop=True, background=background)
        (block,) = read_as(channels=3)
        assert block[0, :, 0, 0].tolist() == pytest.approx(expected, abs=1)
        (block,) = read_as(channels=1)
        grey = np.dot(expected, [0.299, 0.587, 0.114])
        assert block[0, 0, 0, 0] == pytest.approx(grey, abs=1.5)

    def test_kept_as_a_channel(self, tmp_path: Path) -> None:
        pixels = np.full((4, 4, 4), 200, np.uint8)
        pixels[:2, :, 3] = 0
        Image.fromarray(pixels).save(tmp_path / "a.png")
        x = read(tmp_path / "a.png", (4, 4), channels=4)
        assert x[:, 0, 0].tolist() == [0, 0, 0, 0], "a colour that nobody sees"
        assert x[:, 3, 0].tolist() == [200, 200, 200, 200]
        Image.new("L", (4, 4), 90).save(tmp_path / "b.png")
        assert read(tmp_path / "b.png", (4, 4), channels=4)[:, 0, 0].tolist() == [90, 90, 90, 255]

    def test_a_resized_edge_keeps_its_colour(self, tmp_path: Path) -> None:
        """Colours weighted by opacity: those of transparent neighbours do not bleed in."""
        pixels = np.zeros((16, 16, 4), np.uint8)
        pixels[:, 8:] = (200, 0, 0, 255)
        pixels[:, :8] = (0, 200, 0, 0)
        Image.fromarray(pixels).save(tmp_path / "a.png")
        x = read(tmp_path / "a.png", (5, 5), channels=4)
        assert x[1].max() == 0
        assert x[0][x[3] > 0].float().min() >= 195

    def test_of_a_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VAE_ZOO_CACHE", str(tmp_path / "cache"))
        for n in range(5):
            self.half.save(tmp_path / f"{n}.png")
        make = partial(ImageFolder, folder=str(tmp_path), image_size=4)
        assert [make(background=name).load("train").x.max() for name in ("black", "white")] == [40, 244]
        assert make(channels=4).load("train").x[0, :, 0, 0].tolist() == [200, 0, 100, 51]
        assert make(channels=4).shape == (4, 4, 4)


def test_orientation(tmp_path: Path) -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by a quarter, clockwise
    x = one(tmp_path, Image.fromarray(pixels), exif=exif)
    assert (x[0, :4].float().mean(), x[0, 4:].float().mean()) == (255, 0)


def test_large_jpeg_is_reduced(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", 77, size=(1000, 600))
    x = read(tmp_path / "a.jpg", (16, 16))
    assert x.float().mean() == pytest.approx(77, abs=1)


def test_unreadable_images(tmp_path: Path) -> None:
    for number in range(20):
        Image.fromarray(np.random.default_rng(number).integers(0, 255, (9, 9), np.uint8)).save(
            tmp_path / f"{number}.png"
        )
    for split in ("train", "val", "test"):
        (tmp_path / split).mkdir()
    for number, path in enumerate(sorted(tmp_path.glob("*.png"))):
        path.rename(tmp_path / ("train" if number < 10 else "val" if number < 15 else "test") / path.name)
    good = sorted((tmp_path / "train").iterdir())
    good[0].write_bytes(b"")
    good[1].write_bytes(good[1].read_bytes()[:80])
    good[2].write_text("no image at all")
    good[3].write_bytes(good[3].read_bytes()[:-40])
    check_one_line(
        tmp_path,
        ValueError,
        rf"4 of 10 images cannot be read: {good[0]} \(empty file\), {good[1]} \(truncated, corrupt or no image\), "
        rf"{good[2]} \(truncated, corrupt or no image\) and 1 more: mend or remove them, or set bad_files to skip\.",
    )


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_files, "_MAX_PIXELS", 99)
    for number in range(3):
        save(tmp_path / f"{number}.png", size=(10, 10))
    check_one_line(tmp_path, ValueError, r"1 of 1 images .* \(10 x 10 is above the limit of 99 pixels\).*skip\.")


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    for number in range(3):
        save(tmp_path / f"{number}.png", size=(10, 10))
    check_one_line(tmp_path, ValueError, r"1 of 1 images .*decompression bomb.*")


def test_floating_point_pixels(tmp_path: Path) -> None:
    for number in range(3):
        save(tmp_path / f"{number}.tiff", 0.5, "F")
    check_one_line(tmp_path, ValueError, r"1 of 1 images .*floating-point pixels have no known range.*")


class TestSixteenBits:
    def test_every_level_of_eight_is_exact(self, tmp_path: Path) -> None:
        """Level k of 8 bits is 257 k of 16, so that white stays white: a division by 256 has 200 become 201."""
        levels = np.arange(256, dtype=np.uint16).reshape(16, 16)
        Image.fromarray(levels * 257).save(tmp_path / "a.png")
        assert np.array_equal(read(tmp_path / "a.png", (16, 16)).numpy()[0], levels)

    def test_white_level(self, tmp_path: Path) -> None:
        levels = (np.arange(256, dtype=np.uint16) * 16 + np.arange(256, dtype=np.uint16) // 17).reshape(16, 16)
        assert levels.max() == 4095
        Image.fromarray(levels).save(tmp_path / "a.png")
        said = "levels up to 4095 of 65535 only, which leaves 17 of 256 grey levels: set white_level to 4095 for images"
        with pytest.warns(UserWarning, match=said):
            dark = read(tmp_path / "a.png", (16, 16))
        assert len(dark.unique()) == 17
        bright = read(tmp_path / "a.png", (16, 16), white_level=4095)
        expected = (levels.astype(float) * 255 / 4095).round()
        assert np.array_equal(bright.numpy()[0], expected)
        assert read(tmp_path / "a.png", (16, 16), white_level=1000).max() == 255  # what is above is white

    def test_of_a_folder(self, tmp_path: Path) -> None:
        """The level is a part of what a kept copy of the images is named by."""
        for n in range(20):
            Image.fromarray(np.full((4, 4), 200 * n + 200, np.uint16)).save(tmp_path / f"{n}.png")
        make = partial(ImageFolder, folder=str(tmp_path), image_size=4, channels=1)
        first, second = (make(white_level=level).load("train").x for level in (3900, 8000))
        assert first.max() == 255
        assert second.max() <= 128
        with pytest.raises(ValueError, match="white_level must be at least 1, got 0"):
            ImageFolder(folder=str(tmp_path), white_level=0)
