"""``vae-zoo export``: a trained model for use without vae_zoo."""

from __future__ import annotations

from pathlib import Path

from vae_zoo.cli.terminal import greet, quiet
from vae_zoo.cli.verbs import VerbParser

DESCRIPTION = """Write encoder and decoder of a trained model as ONNX or as programs of torch.export, which run without
vae_zoo, or weights and configuration as safetensors and JSON. What was written is read back and compared with the
model first: if it gives other numbers, nothing is written."""
FORMATS = {"safetensors": (), "onnx": ("onnx", "onnxscript", "onnxruntime"), "torch-export": ()}
"""Formats, and the packages of the extra ``export`` that each needs."""


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("export", DESCRIPTION)
    made.add_checkpoint()
    made.add_argument("--format", required=True, choices=FORMATS, help="what to write")
    made.add_argument("--out", type=Path, default=Path("export"), metavar="DIR", help="folder to write to (export)")
    return made


def export(args: list[str]) -> None:
    """Run ``vae-zoo export``.

    Raises:
        ValueError: If the model cannot be exported in this format, or the exported file differs from it.
        FileNotFoundError: If there is no such checkpoint, or no parent folder.
        ImportError: If a package is missing.
    """
    options = parser().parse_args(args)
    refuse(options.format, options.out)
    greet("export", f"{options.ckpt_path} as {options.format}", piped=True)

    from vae_zoo import export as exporting
    from vae_zoo.hub import load

    quiet()
    for line in exporting.export(load(options.ckpt_path), options.out, options.format, ckpt_path=options.ckpt_path):
        print(line)


def refuse(form: str, out: Path) -> None:
    """Refuse invalid options.

    Raises:
        ImportError: If a package is missing.
        FileNotFoundError: If there is no parent folder.
        ValueError: If there is a file of that name.
    """
    from importlib.util import find_spec

    for package in FORMATS[form]:
        if find_spec(package) is None:
            raise ImportError(f"the format {form} needs {package}: pip install 'vae_zoo[export]'.")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder, {out} is a file.")
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} to make {out.name} in.")
