"""Exported models give the same numbers in processes that have no vae_zoo."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import MODELS, SHAPE, build, saved, small, tiny
from torch import Tensor
from torch.distributions import Distribution

import vae_zoo
from vae_zoo.distributions import AutoregressiveFlow
from vae_zoo.export import DecoderPart, EncoderPart, export, parts
from vae_zoo.export.formats import verify
from vae_zoo.models import AE, VAE, VQVAE, Autoencoder, ConvVAE, FlowVAE, PriorAE

BATCH = 5
SCRIPT = """
import json, sys
sys.modules["vae_zoo"] = None
if sys.argv[1] == "onnx":
    sys.modules["torch"] = None
import numpy as np
try:
    import vae_zoo
except ImportError:
    pass
else:
    raise SystemExit("vae_zoo can be imported")

def run(path, inputs):
    if path.endswith(".onnx"):
        import onnxruntime
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return session.run(None, {i.name: inputs[i.name] for i in session.get_inputs()})
    import torch
    program = torch.export.load(path).module()
    return [y.detach().numpy() for y in program(*(torch.from_numpy(x) for x in inputs.values()))]

found = {}
for path in sys.argv[2:]:
    file = dict(np.load(path.rpartition(".")[0] + ".npz"))
    expected = [file.pop(key) for key in sorted(file) if key.startswith("out")]
    came = run(path, file)
    assert len(came) == len(expected)
    found[path] = [float(np.abs(a - b).max()) for a, b in zip(came, expected)]
print(json.dumps(found))
"""


def distinct() -> list[type[Autoencoder]]:
    """One model for each way to encode and decode that there is in the zoo; the others share one of these."""
    seen: dict[Any, type[Autoencoder]] = {}
    for cls in MODELS:
        model = tiny(cls)
        seen.setdefault((cls.encode, cls.decode, type(model.posterior)), cls)
    return [*seen.values(), ConvVAE]


def model_of(cls: type[Autoencoder]) -> Any:
    torch.manual_seed(1)
    if cls is ConvVAE:
        return build(cls, latent_dim=2).eval()
    flow = {"posterior": partial(AutoregressiveFlow, num_transforms=2, hidden=[8], context_dim=2)}
    return tiny(cls, **(flow if cls is FlowVAE else {})).eval()


def exported(folder: Path, form: str, models: list[type[Autoencoder]]) -> list[str]:
    """Export models, each beside its inputs and outputs; gives the paths of what was written."""
    paths = []
    for cls in models:
        model = model_of(cls)
        written = export(model, folder / cls.__name__, form)
        assert all(found.difference < 1e-5 for found in written)
        for found, half in zip(written, (EncoderPart(model), DecoderPart(model)), strict=True):
            inputs = half.example(BATCH)
            with torch.no_grad():
                outputs = half(*inputs)
            arrays = dict(zip(half.inputs, inputs, strict=True)) | {f"out{n}": y for n, y in enumerate(outputs)}
            np.savez(found.path.with_suffix(".npz"), **{k: v.numpy() for k, v in arrays.items()})
            paths.append(str(found.path))
    return paths


@pytest.mark.slow
@pytest.mark.exhaustive
@pytest.mark.parametrize("form", ["torch-export", "onnx"])
def test_every_model_in_a_process_without_vae_zoo(form: str, tmp_path: Path) -> None:
    models = distinct()
    names = [cls.__name__ for cls in models]
    assert {"ConditionalVAE", "LadderVAE", "ConvVAE"} <= set(names)
    assert {"FlowVAE", "IAFVAE"} & set(names), "which differ in their prior alone"
    assert {cls.__name__ for cls in MODELS if issubclass(cls, (AE, PriorAE))} & set(names)
    assert {cls.__name__ for cls in MODELS if issubclass(cls, VQVAE)} & set(names)
    paths = exported(tmp_path, form, models)
    assert len(paths) == 2 * len(models)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, form, *paths], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    differences = json.loads(done.stdout.splitlines()[-1])
    assert len(differences) == len(paths)
    assert {path: d for path, d in differences.items() if max(d) > 1e-5} == {}
    home = str(Path(vae_zoo.__file__).parents[1]).encode()
    assert not [path for path in paths if home in Path(path).read_bytes()], "places on this machine"


@pytest.mark.slow
def test_the_parts(tmp_path: Path) -> None:
    model = tiny(VAE)
    encoder, decoder = EncoderPart(model), DecoderPart(model)
    x, z = encoder.example(3)[0], decoder.example(3)[0]
    assert (x.shape, z.shape) == ((3, *SHAPE), (3, 4))
    with torch.no_grad():
        mean, scale = encoder(x)
        q = model.encode(x)
        assert torch.equal(mean, q.mean)
        assert torch.equal(scale, q.stddev)
        assert torch.equal(decoder(z)[0], model.decode(z).mean)
    program = parts.program(encoder)
    assert not any("decoder" in name for name in program.state_dict), "weights of the other half stay at home"
    assert any("encoder" in name for name in model.state_dict()), "the model keeps its own"
    first, *_ = export(model, tmp_path, "torch-export")
    assert str(first).startswith(f"{tmp_path / 'encoder.pt2'}  x (batch, 1, 8, 8) -> z, z_scale, within 0.0e+00")


class Fickle(VAE):
    """Encodes by the number of examples."""

    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        return super().encode(x * 2 if x.shape[0] > 2 else x, c)


class Moody(VAE):
    """Decodes by the values of its latents."""

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return super().decode(z if z.sum() > 0 else 2 * z, c)


@pytest.mark.slow
def test_what_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    for cls, half in ((Fickle, "encoder"), (Moody, "decoder")):
        with pytest.raises(ValueError, match=f"the {half} of {cls.__name__} cannot be traced whole"):
            export(tiny(cls), tmp_path / "out", "torch-export")
    assert list(tmp_path.iterdir()) == []


class Bessel(VAE):
    """Has an operation that ONNX has not."""

    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        return super().decode(torch.special.bessel_j0(z), c)


@pytest.mark.exhaustive
@pytest.mark.slow
def test_what_onnx_has_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the decoder of Bessel cannot be written as ONNX: [^\n]*bessel_j0"):
        export(tiny(Bessel), tmp_path / "out", "onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.exhaustive
@pytest.mark.slow
def test_other_numbers_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    traced = parts.program

    def wrong(half: Any) -> Any:
        with torch.no_grad():
            next(half.model.decoder.parameters()).add_(0.01)
        return traced(half)

    monkeypatch.setattr("vae_zoo.export.formats.program", wrong)
    with pytest.raises(
        ValueError, match=r"decoder\.pt2 gives other numbers than the model: x differs by .* was written"
    ):
        export(tiny(VAE), tmp_path / "out", "torch-export")
    assert list(tmp_path.iterdir()) == []


def test_verify_sees_every_output_at_every_size() -> None:
    half = EncoderPart(tiny(VAE))

    def at(size: int, output: int, change: Callable[[Tensor], Tensor]) -> Callable[..., Any]:
        def run(x: Tensor) -> list[Tensor]:
            with torch.no_grad():
                values = list(half(x))
            if len(x) == size:
                values[output] = change(values[output])
            return values

        return run

    assert verify(half, half, "it") == 0
    assert verify(at(1, 0, lambda y: y + 1e-7), half, "it") < 1e-5
    for size in (1, 2, 3, 8):
        for output, name in enumerate(("z", "z_scale")):
            for change in (lambda y: y + 0.01, lambda y: y * float("nan"), lambda y: y[:0]):
                with pytest.raises(ValueError, match=f"{name} differs by .* at batch size {size}"):
                    verify(at(size, output, change), half, "it")
    with pytest.raises(ValueError, match="it does not run at batch size 1: 'NoneType'"):
        verify(lambda x: None, half, "it")


@pytest.mark.slow
def test_from_the_command(run: Callable, tmp_path: Path) -> None:
    path = str(saved(tmp_path, VAE(shape=(3,), latent_dim=2, encoder=small, decoder=small)))
    outcome = run("export", "--ckpt_path", path, "--format", "torch-export", "--out", "here")
    assert (outcome.code, outcome.err) == (0, "")
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["here/encoder.pt2", "here/decoder.pt2"]
    outcome = run("export", "--ckpt_path", path, "--format", "safetensors", "--out", "here")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("here/model.safetensors  ")
    names = ["README.md", "config.json", "decoder.pt2", "encoder.pt2", "model.safetensors"]
    assert sorted(p.name for p in (tmp_path / "here").iterdir()) == names
    assert run("sample", "--ckpt_path", "here", "--num", "2").out == "samples.npz\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("", "missing: --format"),
        ("--format pickle", "argument --format: invalid choice: 'pickle'"),
        ("--format onnx --out file", "--out must be a folder, file is a file"),
        ("--format onnx --out nowhere/x", "there is no folder nowhere to make x in"),
        ("--format onnx --ckpt_path nothing.ckpt", "no checkpoint at nothing.ckpt"),
        ("--format onnx --ckpt_path file", "error: file "),
        ("--format onnx --foramt x", "unrecognized arguments: --foramt x"),
    ],
)
def test_a_mistake_is_one_line(options: str, said: str, run: Callable, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("hello")
    outcome = run("export", "--ckpt_path", "file", *options.split())
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert said in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no format pickle: there are safetensors, onnx, torch-export"):
        export(tiny(VAE), tmp_path, "pickle")
