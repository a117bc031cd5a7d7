"""``vae-zoo decompress``: the examples in a file of ``vae-zoo compress``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from vae_zoo.cli.terminal import greet, quiet
from vae_zoo.cli.verbs import VerbParser, check_writable

DESCRIPTION = """Decode a file of vae-zoo compress by the model that made it, with the same versions and on the same
kind of processor. The examples are an array x of an .npz file, equal to what was coded; images are also written as
.png files if a folder is given."""


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("decompress", DESCRIPTION)
    made.add_model()
    made.add_argument("--file", type=Path, required=True, metavar="FILE", help="a file of vae-zoo compress")
    made.add_argument("--out", type=Path, metavar="FILE", help="an .npz file to write (beside the other)")
    made.add_argument(
        "--images", type=Path, metavar="DIR", help="also write each example as a .png file in this folder"
    )
    return made


def decompress(args: list[str]) -> None:
    """Run ``vae-zoo decompress``.

    Raises:
        ValueError: If an option is invalid, or the file is damaged or was made by another model.
        FileNotFoundError: If there is no such file, or no folder to write to.
    """
    options = parser().parse_args(args)
    out: Path = options.out or options.file.with_suffix(".npz")
    refuse(options.file, out, options.images)
    if options.out is None and out.exists():
        raise ValueError(f"{out} is there already: give another file by --out, or this one to replace it.")
    greet("decompress", f"{options.file} by {options.pretrained or options.ckpt_path}", piped=True)

    from vae_zoo.cli.run.described import model_of
    from vae_zoo.evaluation.coding.files import decoded, original, read_coded
    from vae_zoo.system.writing import as_column, write_npz

    quiet()
    read_coded(options.file)  # before the model, whose reading takes longer
    model = model_of(options)
    if options.images and (len(model.shape) != 3 or model.shape[0] not in (1, 3, 4)):
        raise ValueError(f"examples of shape {tuple(model.shape)} are no images: leave --images out.")
    header, symbols = decoded(options.file, model)
    x = original(symbols, header.kind, header.top, header.num_values)
    write_npz(out, {"x": as_column(x)})
    print(out)
    if options.images:
        _write_images(symbols, header.num_values, options.images)
        print(options.images)


def _write_images(symbols: Any, num_values: int, folder: Path) -> None:
    import numpy as np
    from PIL import Image

    from vae_zoo.system.writing import replacing_folder

    pixels = np.rint(symbols.astype(np.float64) * 255 / (num_values - 1)).astype(np.uint8)
    digits = math.ceil(math.log10(len(pixels) + 1))
    with replacing_folder(folder) as part:
        for number, image in enumerate(pixels):
            plain = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
            Image.fromarray(plain).save(part / f"{number:0{digits}}.png")


def refuse(file: Path, out: Path, images: Path | None) -> None:
    """Refuse invalid options.

    Raises:
        ValueError: If an extension is another, or a folder is in the place of a file.
        FileNotFoundError: If there is no such file, or no folder to write to.
    """
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}: give one of vae-zoo compress.")
    if out.suffix != ".npz":
        raise ValueError(f"--out must end in .npz, got {out}.")
    check_writable(out)
    if images and (images.is_file() or not images.resolve().parent.is_dir()):
        raise ValueError(f"--images must be a folder, or a new one in a folder that exists, got {images}.")
