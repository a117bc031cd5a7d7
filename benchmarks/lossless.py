"""Bits per dimension of lossless codes for the tiles of the test split, which a model of them has to beat.

    VAE_ZOO_DATA=... python -m benchmarks.lossless        # half a minute; writes results/lossless.json

Of each tile, PNG is the smallest file that Pillow writes: colours or a palette, every strategy of zlib at its highest
level. A file of one small tile is to a good part its head, so the bits of the compressed pixels and the palette alone
are counted too, and all tiles as one picture, where a coder knows the previous tiles. WebP is its lossless mode.
"""

from __future__ import annotations

import json
import lzma
import math
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.common import RESULTS, commit, versions
from vae_zoo.data import DungeonTiles

STRATEGIES = (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE)
CONTENT = (b"IDAT", b"PLTE")


def main() -> None:
    result = {**measure(), "versions": versions("pillow", "numpy"), "commit": commit()}
    (RESULTS / "lossless.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def measure() -> dict[str, Any]:
    """Bits per dimension of each code, on the test split."""
    x = DungeonTiles().load("test").x[:].numpy()
    tiles = x.transpose(0, 2, 3, 1)
    together = [joined(tiles, columns) for columns in (1, int(len(tiles) ** 0.5), len(tiles))]
    bits: dict[str, float] = {
        "uniform": 8.0,
        "png": per_dimension(tiles, lambda tile: min(map(len, pngs(tile)))),
        "png, without heads": per_dimension(tiles, lambda tile: min(map(content, pngs(tile)))),
        "png, all in one": min(map(len, (file for picture in together for file in pngs(picture)))) * 8 / x.size,
        "webp": per_dimension(tiles, lambda tile: len(webp(tile))),
        "webp, all in one": min(len(webp(picture)) for picture in together) * 8 / x.size,
        "lzma, all in one": len(lzma.compress(x.tobytes(), preset=9 | lzma.PRESET_EXTREME)) * 8 / x.size,
    }
    return {"data": "DungeonTiles, test split", "num_images": len(x), "bits_per_dim": bits}


def per_dimension(tiles: np.ndarray, size: Callable[[np.ndarray], int]) -> float:
    """Bits per dimension of tiles that are coded one by one, into numbers of bytes."""
    return 8 * math.fsum(size(tile) for tile in tiles) / tiles.size


def pngs(picture: np.ndarray) -> list[bytes]:
    """PNG files of a picture (H, W, 3), with each strategy, in colours and with a palette where that loses nothing."""
    images = [Image.fromarray(picture)]
    if len(np.unique(picture.reshape(-1, 3), axis=0)) <= 256:
        images.append(with_palette(picture))
    return [
        saved(image, "PNG", compress_level=9, compress_type=strategy) for image in images for strategy in STRATEGIES
    ]


def with_palette(picture: np.ndarray) -> Image.Image:
    """The same picture as numbers of its colours."""
    colours, numbers = np.unique(picture.reshape(-1, 3), axis=0, return_inverse=True)
    image = Image.fromarray(numbers.reshape(picture.shape[:2]).astype(np.uint8), "P")
    image.putpalette(colours.tobytes())
    return image


def webp(picture: np.ndarray) -> bytes:
    """A lossless WebP file, of which no side may be longer than 16,383 pixels."""
    return saved(Image.fromarray(picture), "WEBP", lossless=True, quality=100, method=6)


def saved(image: Image.Image, form: str, **how: Any) -> bytes:
    """An image file, checked to give the same pixels."""
    file = BytesIO()
    image.save(file, form, **how)
    with Image.open(BytesIO(file.getvalue())) as again:
        if not np.array_equal(np.asarray(again.convert("RGB")), np.asarray(image.convert("RGB"))):
            raise ValueError(f"{form} with {how} loses pixels.")
    return file.getvalue()


def content(png: bytes) -> int:
    """Bytes of the compressed pixels and of the palette of a PNG file."""
    at, total = 8, 0
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        total += size if png[at + 4 : at + 8] in CONTENT else 0
        at += 12 + size
    return total


def joined(tiles: np.ndarray, columns: int) -> np.ndarray:
    """All tiles in one picture, row by row."""
    num, height, width, channels = tiles.shape
    rows = tiles.reshape(num // columns, columns, height, width, channels)
    return rows.transpose(0, 2, 1, 3, 4).reshape(num // columns * height, columns * width, channels)


if __name__ == "__main__":
    main()
