"""Reader of image files, which resizes them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn

if TYPE_CHECKING:
    from PIL.Image import Image

_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow has others, one of which runs a program
IMAGE_ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

_MAX_PIXELS = 90_000_000  # about the limit above which Pillow suspects a decompression bomb
_MAX_NAMED = 3
_WHITE = 65535
_BLOCK = 2**24


def list_images(folder: Path) -> list[str]:
    """Image files in a folder and all its subfolders, sorted, without hidden ones."""
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__MACOSX"))]
        found += [os.path.join(parent, n) for n in files if n.lower().endswith(IMAGE_ENDINGS) and not n.startswith(".")]
    return sorted(
        found, key=lambda path: path.split(os.sep)
    )  # by folder; strings, because paths are five times as large


def read_images(
    paths: Sequence[str | Path],
    *,
    size: tuple[int, int],
    channels: int,
    crop: bool,
    num_workers: int | None = None,
    white_level: int | None = None,
) -> Iterator[np.ndarray]:
    """Decode, convert and resize image files, several at a time.

    Args:
        paths: The files.
        size: Height and width.
        channels: 1 for grey, 3 for colour.
        crop: Crop to the aspect ratio instead of stretching.
        num_workers: Threads; None for one per core.
        white_level: Value of white in images of more than 8 bits; by default 65,535, with a warning
            if no image comes close to it.

    Yields:
        uint8 images, (n, channels, height, width), in blocks of a few megabytes.

    Raises:
        ValueError: After the last block, if files cannot be read; it names the first few.
    """
    bad: list[str] = []
    levels: list[int] = []

    def read(path: str | Path) -> np.ndarray | str:
        try:
            return _read_image(Path(path), size, channels, crop, white_level or _WHITE, levels)
        except Exception as error:  # the decoders of damaged files raise nearly anything
            return f"{path} ({_reason(Path(path), error)})"

    # Pillow warns of what is refused here.
    warnings.filterwarnings("ignore", "Image size .* exceeds limit", category=RuntimeWarning)
    num = max(1, _BLOCK // (channels * size[0] * size[1]))
    # Threads and not processes: Pillow lets go of the interpreter's lock while it decodes and resizes.
    with ThreadPoolExecutor(num_workers or os.cpu_count()) as pool:
        for start in range(0, len(paths), num):
            images = list(pool.map(read, paths[start : start + num]))
            bad += [line for line in images if isinstance(line, str)]
            yield np.array([x for x in images if not isinstance(x, str)], np.uint8)
    if levels and white_level is None and 255 < max(levels) < _WHITE // 4:
        bits, grey = max(levels).bit_length(), round(max(levels) * 255 / _WHITE) + 1
        rank_zero_warn(
            f"images of 16 bits use levels up to {max(levels)} of {_WHITE} only, which leaves {grey} of 256 grey "
            f"levels: set white_level to {2**bits - 1} for images of {bits} bits."
        )
    if bad:
        bad.sort()
        more = f" and {len(bad) - _MAX_NAMED} more" if len(bad) > _MAX_NAMED else ""
        raise ValueError(f"{len(bad)} of {len(paths)} images cannot be read: {', '.join(bad[:_MAX_NAMED])}{more}.")


def _read_image(
    path: Path, size: tuple[int, int], channels: int, crop: bool, white: int, levels: list[int]
) -> np.ndarray:
    from PIL import Image, ImageOps

    height, width = size
    if not path.is_file():  # a pipe would be waited for
        raise ValueError("no file")
    with Image.open(path, formats=_FORMATS) as file:
        if file.width * file.height > _MAX_PIXELS:
            raise ValueError(f"{file.width} x {file.height} is above the limit of {_MAX_PIXELS} pixels")
        file.draft(None, (2 * max(size), 2 * max(size)))  # a large JPEG is decoded at a fraction of its size
        image = _convert(ImageOps.exif_transpose(file), "L" if channels == 1 else "RGB", white, levels)
    method = Image.Resampling.BICUBIC
    image = ImageOps.fit(image, (width, height), method) if crop else image.resize((width, height), method)
    return np.asarray(image).reshape(height, width, channels).transpose(2, 0, 1)


def _convert(image: Image, mode: str, white: int, highest: list[int]) -> Image:
    from PIL import Image as PILImage

    if image.mode == "F":
        raise ValueError("floating-point pixels have no known range: keep such images in an array file")
    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        levels = np.asarray(image).astype(np.int64)
        highest.append(int(levels.max()))
        image = PILImage.fromarray((levels.clip(0, white) * (255 / white)).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = PILImage.alpha_composite(PILImage.new("RGBA", image.size, (0, 0, 0, 255)), image)
    return image.convert(mode)


def _reason(path: Path, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno is None and path.is_file():
        return "empty file" if path.stat().st_size == 0 else "truncated, corrupt or no image"
    return str(error).split("\n")[0] or type(error).__name__
