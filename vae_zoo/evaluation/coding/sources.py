"""Examples to code, from files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vae_zoo.data.files.array_files import read_table
from vae_zoo.data.files.image_files import FORMATS, IMAGE_ENDINGS
from vae_zoo.evaluation.coding.discretised import Values
from vae_zoo.evaluation.coding.files import KINDS, original
from vae_zoo.typing import Shape

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Source(NamedTuple):
    """Examples, (N, \\*shape), and how they were stored.

    Args:
        x: The array.
        where: Name of its source in errors.
        names: Names of the examples in errors; numbers from 1 if there are none.
    """

    x: NDArray[Any]
    where: str
    names: Sequence[str] = ()


class Symbols(NamedTuple):
    """Examples as numbers of values, with what gives the array back.

    Args:
        values: The values.
        x: Their numbers, (N, \\*shape).
        kind: Type of the array.
        top: Number that the largest value is in it.
    """

    values: Values
    x: NDArray[np.uint16]
    kind: str
    top: float


def from_files(paths: Sequence[Path], shape: Shape) -> Source:
    """The examples of one array file, or of images of the size of the model's.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is damaged, or holds examples of another shape.
    """
    images = [path.suffix.lower() in IMAGE_ENDINGS for path in paths]
    if any(images):
        if not all(images) or len(shape) != 3 or shape[0] not in _MODES:
            raise ValueError(
                f"give images, or one array file, of examples of shape {shape}: got {paths[0]} and others."
            )
        return Source(np.stack([_image(path, shape) for path in paths]), "the images", [str(path) for path in paths])
    if len(paths) > 1:
        raise ValueError(f"give one array file, or several images, got {' '.join(map(str, paths))}.")
    layout: Any = {1: "vector", 2: "sequence", 3: "image", 4: "volume"}[len(shape)]
    keys: dict[str, Any] = dict.fromkeys(("key", "label_key", "label_column", "channels_last"))
    table = read_table(paths[0], **keys, layout=layout)
    x = np.asarray(table.x[:])
    if tuple(x.shape[1:]) != tuple(shape):
        raise ValueError(f"{paths[0]} has examples of shape {tuple(x.shape[1:])}, and the model is of {tuple(shape)}.")
    return Source(x, str(paths[0]))


def to_symbols(source: Source, likelihood: Any) -> Symbols:
    """Number the values of examples such that the array can be made from the numbers again.

    uint8 arrays are divided by 255, as for training, unless they are counts, or all values are 0 or 1.

    Raises:
        ValueError: If there are no examples, or a value is not one of the likelihood's.
    """
    x, where = source.x, source.where
    if not len(x):
        raise ValueError(f"{where}: there are no examples to code.")
    if x.dtype.name not in KINDS:
        raise ValueError(f"{where} is of type {x.dtype.name}, and {', '.join(KINDS)} are coded.")
    values = Values(likelihood, int(min(max(1.0, float(x.max())), 2.0**40)) + 1)
    binary = values.num == 2 and not values.is_count and (x.dtype.kind == "b" or float(x.max()) <= 1)
    top = values.num - 1 if values.is_count else 1
    if x.dtype.name == "uint8" and not values.is_count and not binary:
        top = 255
    symbols = values.symbols(_scaled(x, values, top), where, source.names)
    again = original(symbols, x.dtype.name, top, values.num)
    if not np.array_equal(again, x):
        raise ValueError(f"{where} has values next to the {values.num} that are coded, and would come back rounded.")
    return Symbols(values, symbols, x.dtype.name, top)


def _scaled(x: NDArray[Any], values: Values, top: float) -> Tensor:
    found = torch.from_numpy(x.astype(np.float64))
    return found if values.is_count else found / top


def _image(path: Path, shape: Shape) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}.")
    try:
        with Image.open(path, formats=FORMATS) as image:
            size, mode = (image.height, image.width), image.mode
            if size != tuple(shape[1:]):
                took = f"{size[0]} by {size[1]}"
                raise ValueError(f"{path} is {took} pixels, the model is of {shape[1]} by {shape[2]}: resize it first.")
            image = image.convert("L") if mode == "1" else image
            if image.mode != _MODES[shape[0]]:
                raise ValueError(f"{path} is of mode {mode}, and {_MODES[shape[0]]} is what the model codes.")
            x = np.asarray(image, np.uint8)
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError):
        raise ValueError(f"{path} is truncated or no image.") from None
    return x[None] if x.ndim == 2 else np.ascontiguousarray(x.transpose(2, 0, 1))
