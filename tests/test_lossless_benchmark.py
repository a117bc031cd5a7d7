from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import lossless
from benchmarks.common import RESULTS


def test_content_of_a_png_is_the_file_without_its_heads() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    colours, palette = (files[0] for files in (lossless.pngs(picture)[:4], lossless.pngs(picture)[4:]))
    chunk, head = 12, 8 + 12 + 13
    assert lossless.content(colours) == len(colours) - head - 2 * chunk  # of the pixels and of the end
    assert lossless.content(palette) == len(palette) - head - 3 * chunk
    assert lossless.content(colours) > picture.size  # noise does not shrink


def test_joined_tiles() -> None:
    tiles = np.arange(6 * 2 * 2 * 3, dtype=np.uint8).reshape(6, 2, 2, 3)
    picture = lossless.joined(tiles, 3)
    assert picture.shape == (4, 6, 3)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, 3)
        assert np.array_equal(picture[2 * row : 2 * row + 2, 2 * column : 2 * column + 2], tile)


def test_bits_are_of_every_channel() -> None:
    tiles = np.zeros((5, 4, 4, 3), np.uint8)
    assert lossless.per_dimension(tiles, lambda _: 48) == 8.0


def test_a_code_that_loses_pixels_is_refused() -> None:
    picture = lossless.Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8))
    with pytest.raises(ValueError, match=r"^JPEG with \{'quality': 50\} loses pixels\.$"):
        lossless.saved(picture, "JPEG", quality=50)


def test_the_table_of_the_documentation() -> None:
    bits = json.loads((RESULTS / "lossless.json").read_text())["bits_per_dim"]
    text = (Path(__file__).parents[1] / "docs" / "data.md").read_text()
    for name, value in bits.items():
        assert name == "uniform" or f"| {value:.2f} |" in text, name
