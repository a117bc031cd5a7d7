"""Classes named by checkpoints and configurations: only trusted ones are imported."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from short import few

import vae_zoo
from vae_zoo import hub
from vae_zoo.models import VAE

from .hostile import planted

NESTED = {"class_path": "evil_mod.EvilNet", "init_args": {}}
HOSTILE: dict[str, tuple[tuple[str, ...], Any]] = {  # place in the arguments of the model, and what stands there
    "encoder": (("encoder",), NESTED),
    "decoder, a path alone": (("decoder",), "evil_mod.EvilNet"),
    "a function": (("encoder",), "evil_mod.evil"),
    "in text": (("encoder",), "{class_path: evil_mod.EvilNet}"),
    "in a file": (("encoder",), "net.yaml"),
    "likelihood": (("likelihood",), {"class_path": "evil_mod.EvilFamily"}),
    "optimizer": (("optimizer",), {"class_path": "evil_mod.EvilOptimizer", "init_args": {"lr": 0.1}}),
    "scheduler": (("scheduler",), {"class_path": "evil_mod.evil"}),
    "os.system": (("encoder",), {"class_path": "os.system", "init_args": {"command": "touch ../executed"}}),
    "os.mkdir": (("encoder",), "os.mkdir"),
    "subprocess.Popen": (("encoder",), {"class_path": "subprocess.Popen", "init_args": {"args": "id"}}),
    "builtins.eval": (("encoder",), {"class_path": "builtins.eval"}),
    "os._exit": (("scheduler",), "os._exit"),
    "torch.hub.load": (("encoder",), {"class_path": "torch.hub.load", "init_args": {"repo_or_dir": "."}}),
    "torch.load": (("encoder",), "torch.load"),
    "through an open module": (("encoder",), "torch.nn.functional.importlib.import_module"),
    "through the zoo": (("encoder",), "vae_zoo.data.files.image_files.os.system"),
    "through modules": (("encoder",), "sklearn.linear_model._base.joblib.numpy_pickle.load"),
    "through public modules": (("encoder",), {"class_path": "torch.nn.functional.torch.hub.load", "init_args": {}}),
    "through a dictionary": (("encoder",), "torch.nn.functional.__dict__.exec"),
    "through a class": (("encoder",), {"class_path": "torch.nn.Linear.__init__.__globals__.exec"}),
    "a private class": (("encoder",), {"class_path": "vae_zoo.checkpoints._Summed"}),
    "a function of the zoo": (("encoder",), "vae_zoo.data.write_shards"),
    "a class that imports another": (("encoder",), {"class_path": "vae_zoo.metrics.extractors.TemporaryDirectory"}),
    "a class that is not there": (("encoder",), {"class_path": "vae_zoo.nn.Dens", "init_args": {}}),
    "through jsonargparse": (("encoder",), {"class_path": "jsonargparse.set_parsing_settings"}),
    "an argument of an open class": (
        ("encoder",),
        {"class_path": "vae_zoo.nn.Dense", "init_args": {"activation": NESTED}},
    ),
    "lr_lambda": (
        ("scheduler",),
        {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "evil_mod.evil"}},
    ),
    "lr_lambda of the system": (
        ("scheduler",),
        {"class_path": "torch.optim.lr_scheduler.LambdaLR", "init_args": {"lr_lambda": "os.system"}},
    ),
}
MODELS = {
    "evil_mod.EvilVAE": "evil_mod.EvilVAE is not trusted: add --trust evil_mod if you trust its code",
    "os.system": "os.system is not allowed here",
    "subprocess.Popen": "subprocess.Popen is not allowed here",
    "builtins.eval": "builtins.eval is not allowed here",
    "lightning.pytorch.demos.boring_classes.BoringModel": "BoringModel is not allowed here",
    "vae_zoo.cli.main": "vae_zoo.cli.main is not allowed here",
    "torch.hub.load": "torch.hub.load is not allowed here",
    "vae_zoo.models.base.autoencoder.functools.partial": "functools",
    "../evil_mod.EvilVAE": "is no path of a class",
    "evil_mod": "is no path of a class",
    "": "is no path of a class",
}


def write(content: dict[str, Any]) -> str:
    torch.save(content, "evil.ckpt")
    Path("net.yaml").write_text(yaml.safe_dump(NESTED))
    return "evil.ckpt"


def named(content: dict[str, Any], path: str) -> str:
    planted(content, "hyper_parameters", "_class_path", value=path)
    return write(planted(content, "vae_zoo", "model", "class_path", value=path))


@pytest.mark.parametrize("name", HOSTILE)
def test_an_argument_of_a_checkpoint_in_python(name: str, content: dict[str, Any], marker: Path) -> None:
    keys, value = HOSTILE[name]
    planted(content, "hyper_parameters", *keys, value=value)
    path = write(planted(content, "vae_zoo", "model", "init_args", *keys, value=value))
    for call in (hub.load, VAE.load_from_checkpoint):
        with pytest.raises(ValueError, match=r"not (trusted|allowed)|no class|does not fit: encoder") as refusal:
            call(path)
        assert "\n" not in str(refusal.value)
        assert "evil_mod" not in sys.modules


@pytest.mark.parametrize("name", few(HOSTILE, 4))
def test_an_argument_of_a_checkpoint_by_the_command(name: str, content: dict[str, Any], refused: Callable) -> None:
    keys, value = HOSTILE[name]
    file = write(planted(content, "vae_zoo", "model", "init_args", *keys, value=value))
    said = refused("test", "--ckpt_path", file)
    assert any(words in said for words in ("not trusted", "not allowed", "no class", "encoder='net.yaml'")), said


@pytest.mark.parametrize("path", few(MODELS, 3))
def test_the_model_of_a_checkpoint(path: str, content: dict[str, Any], refused: Callable) -> None:
    file = named(content, path)
    if path != "vae_zoo.models.base.autoencoder.functools.partial":
        with pytest.raises(ValueError, match=r"not (trusted|allowed)|no path"):
            hub.load(file)
    assert MODELS[path] in refused("test", "--ckpt_path", file)


@pytest.mark.parametrize("path", few(["evil_mod.EvilData", "os.system", "torch.utils.data.DataLoader"], 1))
def test_the_data_of_a_checkpoint(path: str, content: dict[str, Any], refused: Callable) -> None:
    data = {"class_path": path, "init_args": {}}
    said = refused("predict", "--ckpt_path", write(planted(content, "vae_zoo", "data", value=data)))
    assert "not trusted" in said or "not allowed" in said


def test_two_names_for_one_model(content: dict[str, Any], marker: Path) -> None:
    """What Lightning instantiates is the second, what we look at the first."""
    file = write(planted(content, "hyper_parameters", "_class_path", value="evil_mod.EvilVAE"))
    with pytest.raises(ValueError, match=r"evil_mod\.EvilVAE is not trusted"):
        hub.load(file)


@pytest.mark.parametrize("path", ["os.system", "evil_mod.evil", "builtins.eval"])
def test_the_instantiator(path: str, content: dict[str, Any], marker: Path) -> None:
    with pytest.raises(ValueError, match="instantiator"):
        hub.load(write(planted(content, "hyper_parameters", "_instantiator", value=path)))


CONFIGS = {
    "model": "model: evil_mod.EvilVAE\ndata: Digits",
    "class_path": "model: {class_path: evil_mod.EvilVAE}\ndata: Digits",
    "data": "model: VAE\ndata: {class_path: evil_mod.EvilData}",
    "encoder": "model: {class_path: VAE, init_args: {encoder: evil_mod.EvilNet}}\ndata: Digits",
    "callback": "trainer: {callbacks: [evil_mod.EvilCallback]}",
    "logger": "trainer: {logger: {class_path: evil_mod.EvilLogger, init_args: {save_dir: .}}}",
    "profiler": "trainer: {profiler: evil_mod.evil}",
    "strategy": "trainer: {strategy: {class_path: evil_mod.evil}}",
    "plugins": "trainer: {plugins: [{class_path: evil_mod.evil}]}",
    "optimizer": "model: {class_path: VAE, init_args: {optimizer: {class_path: evil_mod.EvilOptimizer}}}",
    "callable": "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, "
    "init_args: {setup: os._exit}}]}",
    "callable of a module": "trainer: {callbacks: [{class_path: lightning.pytorch.callbacks.LambdaCallback, "
    "init_args: {setup: evil_mod.evil}}]}",
    "the command itself": "trainer: {callbacks: [vae_zoo.cli.main]}",
    "the command itself as a class": "trainer: {callbacks: [{class_path: vae_zoo.cli.main}]}",
    "the command itself when a fit begins": "trainer: {callbacks: [{class_path: "
    "lightning.pytorch.callbacks.LambdaCallback, init_args: {setup: vae_zoo.cli.main}}]}",
    "a logger that asks a server": "trainer: {logger: {class_path: lightning.pytorch.loggers.CometLogger}}",
    "os.system": "model: {class_path: os.system, init_args: {command: touch ../executed}}",
    "in a file": "model: net.yaml",
    "in text": "model: '{class_path: evil_mod.EvilVAE}'",
    "trust": "trust: evil_mod\nmodel: evil_mod.EvilVAE",
}


PLACES = [(name, "fit --config") for name in CONFIGS]
PLACES += [(name, "--config") for name in ("class_path", "callback", "in a file", "trust")]


@pytest.mark.parametrize(("name", "place"), few(PLACES, 5))
def test_a_configuration(name: str, place: str, refused: Callable) -> None:
    Path("net.yaml").write_text("class_path: evil_mod.EvilVAE")
    Path("data.yaml").write_text("model: VAE\ndata: Digits")
    text = CONFIGS[name]
    if place == "--config":  # of all verbs
        Path("evil.yaml").write_text("fit:\n" + "".join(f"  {line}\n" for line in text.splitlines()))
        refused("--config", "evil.yaml", "fit")
    else:
        Path("evil.yaml").write_text(text)
        refused(*place.split(), "data.yaml", "--config", "evil.yaml")


def test_a_config_of_ones_own_model_says_what_to_add(refused: Callable) -> None:
    Path("mine.yaml").write_text(CONFIGS["model"])
    said = refused("fit", "--config", "mine.yaml")
    assert said == "vae-zoo: error: model: evil_mod.EvilVAE is not trusted: add --trust evil_mod if you trust its code"


@pytest.mark.parametrize("name", few(["os", "subprocess", "builtins", "jsonargparse", "a/b", ""], 2))
def test_what_is_never_trusted(name: str, refused: Callable) -> None:
    assert "--trust" in refused("fit", "--model", "VAE", "--data", "Digits", "--trust", name)


def test_a_file_name_is_no_module_that_one_trusts(content: dict[str, Any], refused: Callable) -> None:
    for option in ("--data.path evil_mod.npz", "--trainer.default_root_dir evil_mod.out", "--data.folder ./evil_mod.X"):
        refused("test", "--ckpt_path", named(content, "evil_mod.EvilVAE"), *option.split())


def test_a_plugin_that_lies_in_the_folder_is_none(refused: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    info = Path("evil-1.dist-info")
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: evil\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[vae_zoo.plugins]\nevil = evil_mod\n")
    monkeypatch.setattr(sys, "path", ["" if Path(folder) == Path.cwd() else folder for folder in sys.path])
    assert "there is no class EvilVAE" in refused("fit", "--model", "EvilVAE", "--data", "Digits")
    refused("fit", "--model", "EvilVAE", "--data", "Digits", "--config", "vae_digits", "--model", "evil_mod.EvilVAE.X")


def test_the_working_folder_is_not_imported_from_unasked(run: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])
    assert run("list", "models").code == 0
    assert "" not in sys.path


# What shows that the probes would be seen.


def test_an_import_of_the_module_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from .hostile import MODULE

    (tmp_path / "evil_mod.py").write_text(MODULE.format(marker=str(tmp_path / "executed")))
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("evil_mod")
    sys.modules.pop("evil_mod")
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("way", few(["--trust evil_mod", "--trust=evil_mod", "--model evil_mod.EvilVAE"], 1))
def test_who_names_a_module_runs_it(way: str, content: dict[str, Any], run: Callable, tmp_path: Path) -> None:
    from .hostile import MODULE

    Path("evil_mod.py").write_text(MODULE.format(marker=str(tmp_path / "executed")))
    assert run("validate", "--ckpt_path", named(content, "evil_mod.EvilVAE"), *way.split()).code == 0
    sys.modules.pop("evil_mod")
    assert (tmp_path / "executed").exists()


def test_a_program_says_whom_it_trusts(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from .hostile import MODULE

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    Path("evil_mod.py").write_text(MODULE.format(marker=str(tmp_path / "executed")))
    model = vae_zoo.load(named(content, "evil_mod.EvilVAE"), trust=["evil_mod"])
    sys.modules.pop("evil_mod")
    assert type(model).__name__ == "EvilVAE"
