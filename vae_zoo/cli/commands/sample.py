"""``vae-zoo sample``: pictures or arrays of what a trained model generates."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vae_zoo.cli.terminal import greet, quiet
from vae_zoo.cli.verbs import VerbParser

DESCRIPTION = """Draw samples from the prior of a trained model and decode them: the means of p(x|z), as a picture or as
an array x of an .npz file."""
KINDS = (".png", ".npz")
MOST = 4096
"""Samples that a picture may hold."""


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("sample", DESCRIPTION)
    made.add_checkpoint()
    made.add_argument("--num", type=int, default=64, metavar="N", help="number of samples (64)")
    made.add_argument("--class", type=int, dest="label", metavar="K", help="class, for a model of classes; else all")
    made.add_argument(
        "--temperature",
        type=float,
        default=1.0,
        metavar="T",
        help="factor on the spread of the prior, or what divides the logits of a prior over codes (1)",
    )
    made.add_argument("--out", type=Path, metavar="FILE", help="a .png or .npz file (samples.png, else samples.npz)")
    made.add_argument("--seed", type=int, default=0, help="seed of the draws (0)")
    return made


def sample(args: list[str]) -> None:
    """Run ``vae-zoo sample``.

    Raises:
        ValueError: If an option is bad, or the model cannot do what is asked.
        FileNotFoundError: If there is no such checkpoint, or no folder to write to.
    """
    options = parser().parse_args(args)
    out: Path | None = options.out
    refuse(options.num, options.label, options.temperature, options.seed, out)
    greet("sample", f"from {options.ckpt_path}", piped=True)

    from vae_zoo.callbacks.pictures import drawing
    from vae_zoo.evaluation.sampling import draw, generate
    from vae_zoo.hub import load
    from vae_zoo.system.writing import write_npz

    quiet()
    model = load(options.ckpt_path)
    images = drawing.drawable(model.shape)
    out = out or Path("samples.png" if images and options.num <= MOST else "samples.npz")
    if out.suffix == ".png" and not images:
        raise ValueError(f"examples of shape {tuple(model.shape)} are no images: give an --out that ends in .npz.")
    asked = {"label": options.label, "temperature": options.temperature, "seed": options.seed}
    if out.suffix == ".png":
        drawing.check_size("--num", options.num, model.shape)
        x, _ = generate(model, options.num, **asked)
        columns = getattr(model, "num_classes", None) if options.label is None else None
        drawing.save_png(drawing.grid(x, min(columns or math.isqrt(options.num), options.num)), out)
    else:
        _check_room(out, options.num, math.prod(model.shape) * 4)
        write_npz(out, _columns(draw(model, options.num, **asked), options.num, tuple(model.shape)))
    print(out)


def _columns(parts: Iterator[tuple[Any, Any]], num: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """The arrays of the file; samples go there as they are drawn, and only their classes are kept."""
    first, c = next(parts)
    classes: list[Any] = [] if c is None else [c.numpy()]

    def rows() -> Iterator[Any]:
        yield first.cpu().float().numpy()
        for x, y in parts:
            if y is not None:
                classes.append(y.numpy())
            yield x.cpu().float().numpy()

    found = {"x": ("float32", (num, *shape), rows())}
    return found if c is None else {**found, "y": ("int64", (num,), classes)}


def _check_room(out: Path, num: int, size: int) -> None:
    """Refuse more samples than the disk has room for.

    Raises:
        ValueError: With how many it has room for.
    """
    free = shutil.disk_usage(out.parent).free
    if num * size > free:
        raise ValueError(
            f"--num {num}: these take {num * size / 1e9:.1f} GB, and the disk of {out} has {free / 1e9:.1f}: "
            f"at most {free // size} fit."
        )


def refuse(num: int, label: int | None, temperature: float, seed: int, out: Path | None) -> None:
    """Raise what is wrong with the options by themselves.

    Raises:
        ValueError: If a number is out of range, or the extension of out unknown.
        FileNotFoundError: If there is no folder to write to.
    """
    if num < 1:
        raise ValueError(f"--num must be at least 1, got {num}.")
    if label is not None and label < 0:
        raise ValueError(f"--class must be at least 0, got {label}.")
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"--temperature must be positive and finite, got {temperature}.")
    if not 0 <= seed < 2**63:
        raise ValueError(f"--seed must be at least 0 and below 2**63, got {seed}.")
    if out is None:
        return
    if out.suffix not in KINDS:
        raise ValueError(f"--out must end in {' or '.join(KINDS)}, got {out}.")
    if out.suffix == ".png" and num > MOST:
        raise ValueError(f"a picture holds at most {MOST} samples, got {num}: give an --out that ends in .npz.")
    if not out.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} to write {out.name} to.")
    if out.is_dir():
        raise ValueError(f"--out names a folder, {out}: give a file.")
