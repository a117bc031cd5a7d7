"""``vae-zoo compress``: examples without loss in a file, by a trained model."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

from vae_zoo.cli.terminal import greet, quiet
from vae_zoo.cli.verbs import VerbParser, check_writable

DESCRIPTION = """Code examples without loss by a trained model of discrete values, in about as many bits as its negative
bound: bits-back coding. The examples are those of a split of its data, of an array file, or of images. The file can be
decoded by the same model, with the same versions and on the same kind of processor."""


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("compress", DESCRIPTION)
    made.add_model()
    made.add_argument("--split", choices=("train", "val", "test"), help="examples of the model's data to code (test)")
    made.add_argument("--input", type=Path, nargs="+", metavar="FILE", help="an array file, or images, in their place")
    made.add_argument("--num", type=int, metavar="N", help="the first N examples; all if not given")
    made.add_argument("--file", type=Path, required=True, metavar="FILE", help="a .vz file to write")
    made.add_argument("--batch_size", type=int, metavar="B", help="examples coded together (1 for each 1000, up to 64)")
    return made


def compress(args: list[str]) -> None:
    """Run ``vae-zoo compress``.

    Raises:
        ValueError: If an option is invalid, the model cannot code, or its data are not discrete.
        FileNotFoundError: If there is no such file, or no folder to write to.
    """
    options = parser().parse_args(args)
    refuse(options)
    greet("compress", f"by {options.pretrained or options.ckpt_path}", piped=True)

    from vae_zoo.evaluation.coding import Codec, refusal, write_coded
    from vae_zoo.evaluation.coding.sources import to_symbols

    quiet()
    model, source = _examples(options, refusal)
    found = to_symbols(source._replace(x=source.x[: options.num]) if options.num else source, model.likelihood)
    size = options.batch_size or max(1, min(64, len(found.x) // 1000))
    codec = Codec(model, num_values=found.values.num, batch_size=size)
    coded = codec.encode(found.x)
    written = write_coded(options.file, codec, coded, found.x, kind=found.kind, top=found.top)
    _say(codec, coded, found, written)
    print(options.file)


def _examples(options: Any, refusal: Any) -> tuple[Any, Any]:
    """The model, and the examples to code.

    Raises:
        ValueError: If the model cannot code.
    """
    from vae_zoo.cli.run.described import chosen, data_of, examples_of, model_of
    from vae_zoo.evaluation.coding.sources import Source, from_files

    if options.input:
        model = model_of(options)
        if why := refusal(model):
            raise ValueError(why)
        return model, from_files(options.input, model.shape)
    run = chosen(options.ckpt_path, options.pretrained)
    if why := refusal(run.model):
        raise ValueError(why)
    split = options.split or "test"
    data = data_of(run.data, Path(options.pretrained or options.ckpt_path))
    x, _ = examples_of(run.model, data, split, options.num)
    return run.model, Source(x.numpy(), f"the {split} split")


def _say(codec: Any, coded: Any, found: Any, written: int) -> None:
    """Print the length of the code beside the bound."""
    from vae_zoo.evaluation.coding.bits_back import bound_bits

    bound = bound_bits(codec.model, found.values.examples(found.x))
    dims, code = math.prod(codec.shape), 8 * len(coded.stack.heads) + 2 * len(coded.stack.words)
    lines = [
        f"{coded.num} examples: {coded.bits:.2f} bits each, {coded.bits / dims:.4f} for each value",
        f"the bound: {bound:.2f} bits, -ELBO; the code is {abs(coded.bits / bound - 1):.2%} "
        + ("longer" if coded.bits > bound else "shorter"),
        f"the file: {written} bytes, {written - code} of them the header, {coded.initial_bits // 8} the initial bits",
    ]
    print("\n".join(lines), file=sys.stderr)


def refuse(options: Any) -> None:
    """Refuse invalid options.

    Raises:
        ValueError: If a number is out of range, or two sources are named.
        FileNotFoundError: If there is no folder to write to.
    """
    if options.split and options.input:
        raise ValueError("--split is of the model's data, and --input of other files: leave one out.")
    for name in ("num", "batch_size"):
        if getattr(options, name) is not None and getattr(options, name) < 1:
            raise ValueError(f"--{name} must be at least 1, got {getattr(options, name)}.")
    if options.file.suffix != ".vz":
        raise ValueError(f"--file must end in .vz, got {options.file}.")
    check_writable(options.file)
