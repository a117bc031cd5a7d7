"""``vae-zoo explore``: a page of HTML that explores the latents of a model."""

from __future__ import annotations

from pathlib import Path

from vae_zoo.cli.terminal import greet, quiet
from vae_zoo.cli.verbs import VerbParser, check_writable

DESCRIPTION = """Write a page of HTML that explores a trained model of images: sliders for its latents, the most
informative first, a map of the latents of examples and their neighbours, paths between two, own pictures, and samples
at a temperature. Encoder and decoder are in the page, which works without a network."""


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("explore", DESCRIPTION)
    made.add_model()
    made.add_argument("--html", type=Path, default=Path("explore.html"), metavar="FILE", help="a file (explore.html)")
    made.add_argument("--split", choices=("train", "val", "test"), default="test", help="examples to store (test)")
    made.add_argument("--num", type=int, default=400, metavar="N", help="number of examples to store (400)")
    return made


def explore(args: list[str]) -> None:
    """Run ``vae-zoo explore``.

    Raises:
        ValueError: If an option is invalid, or there is no page of such a model.
        FileNotFoundError: If there is no such checkpoint, or no folder to write to.
    """
    options = parser().parse_args(args)
    refuse(options.num, options.html)
    named = options.pretrained or options.ckpt_path
    greet("explore", f"{named}", piped=True)

    from vae_zoo.cli.run.described import chosen, data_of, examples_of
    from vae_zoo.export.page import explorer, refusal
    from vae_zoo.system.writing import write_text

    quiet()
    run = chosen(options.ckpt_path, options.pretrained)
    if why := refusal(run.model):
        raise ValueError(why)
    data = data_of(run.data, Path(named))
    x, y = examples_of(run.model, data, options.split, options.num)
    kind, source = type(run.model).__name__, type(data).__name__
    about = f"{run.model.latent_shape[0]} latents, {type(run.model.likelihood).__name__}; {len(x)} examples stored"
    write_text(options.html, explorer(run.model, x, y, title=f"{kind} of {source}", about=about))
    print(options.html)


def refuse(num: int, out: Path) -> None:
    """Refuse invalid options.

    Raises:
        ValueError: If there are fewer than two examples, or the extension is another.
        FileNotFoundError: If there is no folder to write to.
    """
    if num < 2:
        raise ValueError(f"--num must be at least 2, got {num}.")
    if out.suffix not in (".html", ".htm"):
        raise ValueError(f"--html must end in .html, got {out}.")
    check_writable(out)
