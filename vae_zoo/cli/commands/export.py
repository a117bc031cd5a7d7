"""``vae-zoo export``: a trained model for use without vae_zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vae_zoo.cli.terminal import greet, quiet
from vae_zoo.cli.verbs import VerbParser

DESCRIPTION = """Write encoder and decoder of a trained model as ONNX or as programs of torch.export, which run without
vae_zoo, weights and configuration as safetensors and JSON, or the AutoencoderKL of diffusers. What was written is read
back and compared with the model first: if it gives other numbers, nothing is written."""
FORMATS = {
    "safetensors": (),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "torch-export": (),
    "diffusers": ("diffusers",),
}
"""Formats, and the packages that each needs."""

EXTRAS = {"diffusers": "diffusion"}
"""Extras with these packages, for formats whose extra is not ``export``."""


def parser() -> VerbParser:
    """Options of the verb."""
    made = VerbParser("export", DESCRIPTION)
    made.add_model()
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
    greet("export", f"{options.pretrained or options.ckpt_path} as {options.format}", piped=True)

    from vae_zoo import export as exporting
    from vae_zoo.cli.run.described import model_of

    quiet()
    model = model_of(options)
    if options.format == "diffusers" and model.latent_scale is None:
        _measure(model, options)
    for line in exporting.export(model, options.out, options.format, ckpt_path=options.ckpt_path):
        print(line)


def _measure(model: Any, options: Any) -> None:
    """Measure the latents of the data that a model was fitted to, for the scaling factor."""
    from vae_zoo.cli.run.described import chosen, data_of
    from vae_zoo.evaluation import latent_scale
    from vae_zoo.export.latent_diffusion import check

    check(model)  # before anything is encoded
    data = chosen(options.ckpt_path, options.pretrained).data
    model.latent_scale = latent_scale(model, data_of(data, Path(options.pretrained or options.ckpt_path)))


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
            raise ImportError(
                f"the format {form} needs {package}: pip install 'vae_zoo[{EXTRAS.get(form, 'export')}]'."
            )
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out must be a folder, {out} is a file.")
    if not out.resolve().parent.is_dir():
        raise FileNotFoundError(f"there is no folder {out.parent} to make {out.name} in.")
