"""Formats of exported models. Each file is read back and compared with the model."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_zoo.checkpoints.folders import read_folder
from vae_zoo.checkpoints.load import restore
from vae_zoo.export import latent_diffusion
from vae_zoo.export.latent_diffusion import WEIGHTS
from vae_zoo.export.parts import DecoderPart, EncoderPart, Part, program
from vae_zoo.export.pretrained import save_pretrained
from vae_zoo.models import Autoencoder
from vae_zoo.system.extras import require
from vae_zoo.system.writing import replacing_folder

SIZES = (1, 2, 3, 8)
"""Batch sizes at which an exported file is compared with the model."""

TOLERANCE = 1e-4
"""Largest difference, relative to the largest value."""

Run = Callable[..., Sequence[Any]]


class Exported(NamedTuple):
    """An exported file.

    Args:
        path: File.
        inputs: Names and shapes of the inputs.
        outputs: Names of the outputs.
        difference: Largest difference from the model, relative to the largest value of an output.
    """

    path: Path
    inputs: str
    outputs: str
    difference: float

    def __str__(self) -> str:
        return f"{self.path}  {self.inputs} -> {self.outputs}, within {self.difference:.1e} of the model"


def export(model: Autoencoder, folder: str | Path, form: str, *, ckpt_path: str | Path | None = None) -> list[Exported]:
    """Export a model for use without vae_zoo.

    ``onnx`` and ``torch-export`` write an encoder, from examples to the mean and σ of the posterior and the codes of
    discrete latents, and a decoder, from latents to the mean of p(x|z). Both take batches of any size, and also labels
    if the model is class-conditional. ``safetensors`` writes the same as :func:`~vae_zoo.hub.save_pretrained`.
    ``diffusers`` writes the folder of an AutoencoderKL of diffusers, with the scaling factor of ``model.latent_scale``.

    Args:
        model: Model.
        folder: Folder, created if necessary; files with the same names in it are replaced.
        form: ``safetensors``, ``onnx``, ``torch-export`` or ``diffusers``.
        ckpt_path: Checkpoint of the model, for its card.

    Raises:
        ValueError: If there is no such format, the model cannot be traced, or the file gives different outputs.
        ImportError: If a package that the format needs is not installed.
    """
    if form not in FORMATS:
        raise ValueError(f"there is no format {form}: there are {', '.join(FORMATS)}.")
    folder = Path(folder)
    with replacing_folder(folder) as part:
        written = FORMATS[form](model, part, ckpt_path, folder)
    return [found._replace(path=folder / found.path.name) for found in written]


def verify(run: Run, part: Part, what: str) -> float:
    """Compare an exported file with a part of the model, at several batch sizes.

    Args:
        run: Exported function, from inputs to outputs.
        part: Part of the model.
        what: Its name in errors.

    Returns:
        The largest difference, relative to the largest value of an output.

    Raises:
        ValueError: If one is beyond rounding.
    """
    worst = 0.0
    for size in SIZES:
        inputs = part.example(size)
        with torch.no_grad():
            expected = part(*inputs)
        try:
            came = [torch.as_tensor(value) for value in run(*inputs)]
        except Exception as error:
            raise ValueError(f"{what} does not run at batch size {size}: {error}") from error
        for name, a, b in zip(part.outputs, came, expected, strict=True):
            difference = _difference(a, b)
            if not difference <= TOLERANCE:
                raise ValueError(
                    f"{what} gives other numbers than the model: {name} differs by {difference:.1e} of its largest "
                    f"value at batch size {size}; nothing was written."
                )
            worst = max(worst, difference)
    return worst


def _difference(a: Tensor, b: Tensor) -> float:
    if a.shape != b.shape:
        return float("inf")
    if not (b.is_floating_point() and a.is_floating_point()):
        return 0.0 if torch.equal(a, b) else float("inf")
    return ((a.double() - b.double()).abs().max() / b.double().abs().max().clamp_min(1e-3)).item()


def _to_safetensors(model: Autoencoder, folder: Path, ckpt_path: str | Path | None, final: Path) -> list[Exported]:
    save_pretrained(model, folder, ckpt_path=ckpt_path, name=final.resolve().name)
    again = restore(Autoencoder, read_folder(folder), str(folder)).eval()
    written = []
    for cls in (EncoderPart, DecoderPart):
        part = cls(again)
        written.append(verify(part, cls(model), "model.safetensors"))
    takes = f"{len(model.state_dict())} tensors"
    return [Exported(folder / "model.safetensors", takes, type(model).__name__, max(written))]


def _to_torch(model: Autoencoder, folder: Path, ckpt_path: str | Path | None, final: Path) -> list[Exported]:  # noqa: ARG001
    def write(part: Part, path: Path) -> Run:
        held = io.BytesIO()  # torch ends the whole process where a file of its own cannot be written
        torch.export.save(program(part), held)
        path.write_bytes(held.getbuffer())
        return torch.export.load(path).module()

    return _parts(model, folder, ".pt2", write)


def _to_onnx(model: Autoencoder, folder: Path, ckpt_path: str | Path | None, final: Path) -> list[Exported]:  # noqa: ARG001
    for package in ("onnx", "onnxscript"):
        require(package, "export", "the format onnx")
    runtime = require("onnxruntime", "export", "the format onnx")

    def write(part: Part, path: Path) -> Run:
        names = {"input_names": part.inputs, "output_names": part.outputs}
        traced: Any = program(part)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", ".*The axis name")  # both inputs share the one of the batch
                made: Any = torch.onnx.export(traced, (), dynamo=True, verbose=False, **names)  # type: ignore[arg-type]
            made.save(path)
        except torch.onnx.OnnxExporterError as error:
            said = " ".join(str(error.__cause__ or error).split())
            name = type(part.model).__name__
            raise ValueError(f"the {part.name} of {name} cannot be written as ONNX: {said}") from error
        session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

        def run(*inputs: Tensor) -> Sequence[Any]:
            return session.run(None, {n: t.numpy() for n, t in zip(part.inputs, inputs, strict=True)})

        return run

    return _parts(model, folder, ".onnx", write)


def _to_diffusers(model: Autoencoder, folder: Path, ckpt_path: str | Path | None, final: Path) -> list[Exported]:  # noqa: ARG001
    again = latent_diffusion.write(model, folder)
    centred = latent_diffusion.sees_centred(model)

    def encode(x: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            q = again.encode(2 * x - 1 if centred else x).latent_dist
        return q.mean, q.std

    def decode(z: Tensor) -> Sequence[Tensor]:
        with torch.no_grad():
            x = again.decode(z).sample
        return ((x + 1) / 2 if centred else x,)

    differences = [verify(run, cls(model), WEIGHTS) for run, cls in ((encode, EncoderPart), (decode, DecoderPart))]
    takes = f"images in {'[-1, 1]' if centred else '[0, 1]'}, scaling_factor {again.config.scaling_factor:.4f}"
    return [Exported(folder / WEIGHTS, takes, "AutoencoderKL", max(differences))]


def _parts(model: Autoencoder, folder: Path, extension: str, write: Callable[[Part, Path], Run]) -> list[Exported]:
    written = []
    for cls in (EncoderPart, DecoderPart):
        part, path = cls(model), folder / f"{cls.name}{extension}"
        shapes = [f"(batch, {', '.join(map(str, part.in_shape))})", "(batch,)"]
        takes = ", ".join(f"{name} {shape}" for name, shape in zip(part.inputs, shapes, strict=False))
        difference = verify(write(cls(model), path), part, path.name)
        written.append(Exported(path, takes, ", ".join(part.outputs), difference))
    return written


FORMATS = {
    "safetensors": _to_safetensors,
    "onnx": _to_onnx,
    "torch-export": _to_torch,
    "diffusers": _to_diffusers,
}
"""Writers of the formats, by their names."""
