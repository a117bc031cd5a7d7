"""Reader of image files, which resizes them."""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow has others, one of which runs a program
IMAGE_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

_MAX_PIXELS = 90_000_000  # about the limit above which Pillow suspects a decompression bomb
_MAX_NAMED = 3
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_WHITE = 65535
_BLOCK = 2**24


def list_images(folder: Path) -> list[str]:
    """Image files in a folder and all its subfolders, linked ones too, sorted, without hidden ones."""
    found = _walk(str(folder), frozenset())
    # By folder; strings, because paths are five times as large.
    return sorted(found, key=lambda path: path.split(os.sep))


def _walk(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    state = os.stat(folder)
    own = state.st_dev, state.st_ino
    if own in above:  # a link to a folder that it is in, which would have no end
        return
    with os.scandir(folder) as entries:
        shown = [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]
    for entry in shown:
        if entry.is_dir():
            yield from _walk(entry.path, above | {own})
        elif entry.name.lower().endswith(IMAGE_ENDINGS):
            yield entry.path


def check_colour(name: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour.

    Args:
        name: A name such as ``white``, or ``ff8000`` or ``#ff8000``; to the command line a ``#`` begins a comment.

    Raises:
        ValueError: If there is no such colour.
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(f"#{name}" if re.fullmatch("[0-9a-fA-F]{6}", name) else name)[:3]
    except ValueError:
        raise ValueError(f"background must be a colour such as white or ff8000, got {name!r}.") from None
    return red, green, blue


def read_images(
    paths: Sequence[str | Path],
    *,
    size: tuple[int, int],
    channels: int,
    crop: bool,
    background: str = "black",
    num_workers: int | None = None,
    white_level: int | None = None,
    skipped: dict[int, str] | None = None,
) -> Iterator[np.ndarray]:
    """Decode, convert and resize image files, several at a time.

    Args:
        paths: The files.
        size: Height and width.
        channels: 1 for grey, 3 for colour, 4 for colour and opacity.
        crop: Crop to the aspect ratio instead of stretching.
        background: Colour behind transparent pixels, unless opacity is kept.
        num_workers: Threads; None for one per core.
        white_level: Value of white in images of more than 8 bits; by default 65,535, with a warning
            if no image comes close to it.
        skipped: Filled with the reasons why files cannot be read, by their number; such images are all 0. None to
            raise an error of them.

    Yields:
        uint8 images, (n, channels, height, width), in blocks of a few megabytes.

    Raises:
        ValueError: After the last block, if files cannot be read and skipped is None; it names the first few. Also if
            no file can be read.
    """
    bad: dict[int, str] = {} if skipped is None else skipped
    levels: list[int] = []
    colour = check_colour(background)

    def read(number: int) -> np.ndarray | None:
        path = Path(paths[number])
        try:
            return _read_image(path, size, channels, crop, colour, white_level or _WHITE, levels)
        except Exception as error:  # the decoders of damaged files raise nearly anything
            bad[number] = _reason(path, error)
            return None

    # Pillow warns of what is refused here.
    warnings.filterwarnings("ignore", "Image size .* exceeds limit", category=RuntimeWarning)
    num = max(1, _BLOCK // (channels * size[0] * size[1]))
    # Threads and not processes: Pillow lets go of the interpreter's lock while it decodes and resizes.
    with ThreadPoolExecutor(num_workers or os.cpu_count()) as pool:
        for start in range(0, len(paths), num):
            block = np.zeros((min(num, len(paths) - start), channels, *size), np.uint8)
            for image, x in zip(block, pool.map(read, range(start, start + len(block))), strict=True):
                if x is not None:
                    image[:] = x
            yield block
    if levels and white_level is None:
        _warn_if_dark(max(levels))
    if bad and (skipped is None or len(bad) == len(paths)):
        advice = ": mend or remove them, or set bad_files to skip" if skipped is None else ""
        raise ValueError(f"{len(bad)} of {len(paths)} images cannot be read: {named(bad, paths)}{advice}.")


def _warn_if_dark(level: int) -> None:
    if 255 < level < _WHITE // 4:
        bits, grey = level.bit_length(), round(level * 255 / _WHITE) + 1
        rank_zero_warn(
            f"images of 16 bits use levels up to {level} of {_WHITE} only, which leaves {grey} of 256 grey "
            f"levels: set white_level to {2**bits - 1} for images of {bits} bits."
        )


def named(bad: Mapping[int, str], paths: Sequence[str | Path]) -> str:
    """The first few of some unreadable files.

    Args:
        bad: Reasons, by the number of the file.
        paths: All files.
    """
    first = [f"{paths[number]} ({bad[number]})" for number in sorted(bad)[:_MAX_NAMED]]
    return ", ".join(first) + (f" and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else "")


def _read_image(
    path: Path,
    size: tuple[int, int],
    channels: int,
    crop: bool,
    colour: tuple[int, int, int],
    white: int,
    levels: list[int],
) -> np.ndarray:
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("no file")
    return _decoded(path, size, channels, crop, colour, white, levels)


def decode_image(content: bytes, where: str, *, size: tuple[int, int] | None, channels: int) -> np.ndarray:
    """Decode an image, and resize it if a size is given, cropped around the centre.

    Args:
        content: The bytes of an image file.
        where: Their name in errors.
        size: Height and width; None for those of the image.
        channels: 1 for grey, 3 for colour, 4 for colour and opacity.

    Returns:
        A uint8 image, (channels, height, width).

    Raises:
        ValueError: If it is no image, or a too large one.
    """
    try:
        return _decoded(BytesIO(content), size, channels, True, (0, 0, 0), _WHITE, [])
    except Exception as error:  # the decoders of damaged files raise nearly anything
        raise ValueError(f"{where} is no image that can be read, or damaged.") from error


def _decoded(
    source: Path | BytesIO,
    size: tuple[int, int] | None,
    channels: int,
    crop: bool,
    colour: tuple[int, int, int],
    white: int,
    levels: list[int],
) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(source, formats=FORMATS) as file:
        if file.width * file.height > _MAX_PIXELS:
            raise ValueError(f"{file.width} x {file.height} is above the limit of {_MAX_PIXELS} pixels")
        if size is not None:
            file.draft(None, (2 * max(size), 2 * max(size)))  # a large JPEG is decoded at a fraction of its size
        image = _convert(ImageOps.exif_transpose(file), _MODES[channels], colour, white, levels)
    if size is not None:
        method, (height, width) = Image.Resampling.BICUBIC, size
        image = ImageOps.fit(image, (width, height), method) if crop else image.resize((width, height), method)
    pixels = np.asarray(image).reshape(image.height, image.width, channels)
    if channels == 4:  # what is never seen is not for a model to learn
        pixels = pixels * (pixels[..., 3:] > 0)
    return pixels.transpose(2, 0, 1)


def _convert(image: Image, mode: str, colour: tuple[int, int, int], white: int, highest: list[int]) -> Image:
    from PIL import Image as PILImage

    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range: keep such images in an array file")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0:
            raise ValueError("negative pixels have no known range: keep such images in an array file")
        if levels.max() > max(white, _WHITE):
            raise ValueError(f"pixels up to {levels.max()}, beyond 16 bits: set white_level to what is white")
        highest.append(int(levels.max()))
        image = PILImage.fromarray((levels.clip(0, white) * (255 / white)).round().astype(np.uint8))
    if image.has_transparency_data and mode != "RGBA":
        image = image.convert("RGBA")
        image = PILImage.alpha_composite(PILImage.new("RGBA", image.size, (*colour, 255)), image)
    return image.convert(mode)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is None and path.is_file():
        return "empty file" if path.stat().st_size == 0 else "truncated, corrupt or no image"
    return str(error).split("\n")[0] or type(error).__name__
