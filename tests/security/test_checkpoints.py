"""Hostile checkpoints: code in their pickles, wherever in the file and however it is read; addresses; bombs."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import runpy
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import quiet_trainer, tiny, tiny_data
from lightning.pytorch.demos.boring_classes import BoringModel
from short import few

from vae_zoo import hub
from vae_zoo.data import Sprites
from vae_zoo.models import VAE, Autoencoder

from .conftest import Served
from .hostile import Call, deflated, planted

PLACES: dict[str, tuple[Any, ...]] = {
    "beside all": ("anything",),
    "weights": ("state_dict",),
    "one weight": ("state_dict", "encoder.layers.1.weight"),
    "arguments": ("hyper_parameters",),
    "one argument": ("hyper_parameters", "latent_dim"),
    "class": ("hyper_parameters", "_class_path"),
    "instantiator": ("hyper_parameters", "_instantiator"),
    "kind of arguments": ("hparams_type",),
    "description": ("vae_zoo",),
    "described argument": ("vae_zoo", "model", "init_args", "latent_dim"),
    "described data": ("vae_zoo", "data", "init_args"),
    "callbacks": ("callbacks", "Evil"),
    "optimizer": ("optimizer_states", 0, "state"),
    "schedulers": ("lr_schedulers",),
    "loops": ("loops", "fit_loop"),
    "version": ("pytorch-lightning_version",),
}


def gadgets(marker: Path) -> dict[str, Call]:
    (marker.parent / "work" / "run_me.py").write_text(f"open({str(marker)!r}, 'w').close()")
    return {
        "os.system": Call(os.system, f"touch {marker}"),
        "subprocess.Popen": Call(subprocess.Popen, ["touch", str(marker)]),
        "builtins.eval": Call(builtins.eval, f"open({str(marker)!r}, 'w').close()"),
        "builtins.exec": Call(builtins.exec, f"open({str(marker)!r}, 'w').close()"),
        "os.mkdir": Call(os.mkdir, str(marker)),
        "runpy.run_path": Call(runpy.run_path, str(marker.parent / "work" / "run_me.py")),
    }


def write(content: Any, **kwargs: Any) -> str:
    torch.save(content, "evil.ckpt", **kwargs)
    return "evil.ckpt"


def refused_by_load(path: Any) -> None:
    with pytest.raises(ValueError, match=r"torch cannot read it|is no checkpoint: torch\.save has not written it"):
        hub.load(path)


@pytest.mark.parametrize("place", PLACES)
def test_code_at_a_place(place: str, content: dict[str, Any], marker: Path) -> None:
    refused_by_load(write(planted(content, *PLACES[place], value=gadgets(marker)["os.mkdir"])))


@pytest.mark.parametrize(
    "gadget", ["os.system", "subprocess.Popen", "builtins.eval", "builtins.exec", "runpy.run_path"]
)
def test_code_of_a_kind(gadget: str, content: dict[str, Any], marker: Path) -> None:
    refused_by_load(write(planted(content, "vae_zoo", "model", value=gadgets(marker)[gadget])))


@pytest.mark.parametrize("way", ["legacy", "protocol 4", "raw pickle", "a module", "nested", "as a key"])
def test_code_in_a_form(way: str, content: dict[str, Any], marker: Path) -> None:
    code: Any = gadgets(marker)["os.mkdir"]
    if way == "raw pickle":
        Path("evil.ckpt").write_bytes(pickle.dumps(code))
    elif way == "a module":
        model = torch.nn.Linear(1, 1)
        model.code = code
        write(model)
    elif way == "as a key":
        write({**content, Call(os.mkdir, str(marker)): 1})
    else:
        value = [{"a": ({"b": code},)}] if way == "nested" else code
        kwargs: dict[str, Any] = {"legacy": {"_use_new_zipfile_serialization": False}}.get(way, {})
        write(planted(content, "anything", value=value), **({"pickle_protocol": 4} if way == "protocol 4" else kwargs))
    refused_by_load("evil.ckpt")


@pytest.mark.filterwarnings("ignore:`torch.jit")  # is deprecated, which is no matter here
def test_a_script_module_in_place_of_a_checkpoint(marker: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1, 1)), "evil.ckpt")
    with pytest.raises(ValueError, match=r"evil\.ckpt is compressed|torch cannot read it"):
        hub.load("evil.ckpt")


def test_an_archive_in_place_of_a_checkpoint(marker: Path) -> None:
    with tarfile.open("evil.ckpt", "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(marker.parent)
        archive.addfile(link)
        for name in ("../../executed", "link/executed", str(marker), "pickle", "sys_info"):
            archive.addfile(tarfile.TarInfo(name))
    refused_by_load("evil.ckpt")


@pytest.mark.parametrize("cls", [VAE, Autoencoder, Sprites], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("kind", ["path", "object", "environment"])
def test_every_class_reads_plain_data(
    cls: Any, kind: str, content: dict[str, Any], marker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(write(planted(content, "anything", value=gadgets(marker)["os.mkdir"])))
    if kind == "environment":
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    with pytest.raises(ValueError, match="torch cannot read it"):
        cls.load_from_checkpoint(io.BytesIO(path.read_bytes()) if kind == "object" else path)


def test_no_argument_of_python_opts_out(content: dict[str, Any], marker: Path) -> None:
    path = write(planted(content, "anything", value=gadgets(marker)["os.mkdir"]))
    with pytest.raises(ValueError, match="weights_only is false, but checkpoints are read as plain data"):
        VAE.load_from_checkpoint(path, weights_only=False)


@pytest.mark.parametrize("file", ["evil.yaml", "evil.csv"])
def test_hyperparameters_in_a_file(file: str, content: dict[str, Any], marker: Path) -> None:
    Path(file).write_text(f"a: !!python/object/apply:os.mkdir [{marker}]")
    with pytest.raises(ValueError, match="hparams_file is given, but"):
        VAE.load_from_checkpoint(write(content), hparams_file=file)


@pytest.mark.parametrize(
    "line", few(["test", "fit", "predict", "test --weights_only false", "test with the environment"], 2)
)
def test_code_by_the_command(
    line: str, content: dict[str, Any], marker: Path, refused: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(planted(content, "callbacks", "Evil", value=gadgets(marker)["os.mkdir"]))
    verb, _, rest = line.partition(" ")
    if "environment" in rest:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        rest = ""
    assert "evil.ckpt is no checkpoint, or a damaged one" in refused(verb, "--ckpt_path", path, *rest.split())


def test_the_command_does_not_opt_out_of_plain_data(content: dict[str, Any], refused: Callable) -> None:
    said = refused("test", "--ckpt_path", write(content), "--weights_only", "false")
    assert "weights_only: checkpoints are read as plain data, always" in said


ADDRESSES = ["{http}/evil.ckpt", "file://{folder}/evil.ckpt", "simplecache::{http}/evil.ckpt", "memory://evil.ckpt"]


@pytest.mark.parametrize("form", few(ADDRESSES, 2))
@pytest.mark.parametrize("way", few(["load", "class", "data", "test", "fit"], 3, "load", "test"))
def test_an_address(
    form: str, way: str, content: dict[str, Any], marker: Path, address: str, refused: Callable
) -> None:
    write(planted(content, "anything", value=gadgets(marker)["os.mkdir"]))
    path = form.format(http=address, folder=marker.parent / "work")
    if way in ("test", "fit"):
        assert "checkpoints are read from files: download" in refused(way, "--ckpt_path", path)
    else:
        call = {"load": hub.load, "class": VAE.load_from_checkpoint, "data": Sprites.load_from_checkpoint}[way]
        with pytest.raises(ValueError, match="checkpoints are read from files: download"):
            call(path)
    assert not Served.requests


@pytest.mark.parametrize("way", ["address", "told to", "environment"])
@pytest.mark.parametrize("verb", few(["fit", "test"], 1))
def test_a_trainer_of_ones_own(
    way: str, verb: str, content: dict[str, Any], marker: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(planted(content, "anything", value=gadgets(marker)["os.mkdir"]))
    monkeypatch.setenv("TORCH_HOME", "hub")
    if way == "environment":
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    given = {"address": {"ckpt_path": f"{address}/{path}"}, "told to": {"ckpt_path": path, "weights_only": False}}
    with pytest.raises(ValueError, match=r"evil\.ckpt holds more than tensors and plain data"):
        getattr(quiet_trainer(Path.cwd()), verb)(tiny(VAE), tiny_data(), **given.get(way, {"ckpt_path": path}))
    assert bool(Served.requests) == (way == "address")


@pytest.mark.parametrize("extra", [0, 10_000])
def test_a_compressed_checkpoint(extra: int, content: dict[str, Any], marker: Path) -> None:
    deflated(Path("bomb.ckpt"), Path(write(content)), extra)
    for call in (hub.load, hub.read, VAE.load_from_checkpoint):
        with pytest.raises(ValueError, match=r"bomb\.ckpt is compressed, as no file of torch.save is"):
            call("bomb.ckpt")


@pytest.mark.parametrize("place", ["hyper_parameters", "vae_zoo"])
@pytest.mark.parametrize("kind", ["repeated", "within itself", "deep", "long"])
def test_a_description_that_stands_for_much(place: str, kind: str, content: dict[str, Any], marker: Path) -> None:
    value: Any = ["x"]
    for _ in range({"repeated": 30, "deep": 300}.get(kind, 0)):
        value = [value, value] if kind == "repeated" else [value]
    if kind == "within itself":
        value.append(value)
    path = write(planted(content, place, "version", value="9" * 100_000 if kind == "long" else value))
    with pytest.raises(ValueError, match=r"(stands for more|nested deeper|a value of 100000 characters)"):
        hub.load(path)
    if place == "hyper_parameters":
        with pytest.raises(ValueError, match=r"(stands for more|nested deeper|a value of 100000 characters)"):
            VAE.load_from_checkpoint(path)


@pytest.mark.parametrize(
    "value", few([None, [], {"model": 3, "data": None}, {"model": {"class_path": 3, "init_args": {}}, "data": None}], 1)
)
def test_a_description_that_is_none(value: Any, content: dict[str, Any], refused: Callable) -> None:
    said = refused("test", "--ckpt_path", write({**content, "vae_zoo": value}))
    assert "its description of the model or the data is not one that a fit writes" in said


# What shows that the probes would be seen: stock torch and Lightning execute them.


@pytest.mark.parametrize("gadget", ["os.system", "builtins.eval", "builtins.exec", "os.mkdir", "runpy.run_path"])
def test_torch_executes_them(gadget: str, content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    marker = tmp_path / "executed"
    torch.save(planted(content, "vae_zoo", value=gadgets(marker)[gadget]), tmp_path / "evil.ckpt")
    torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert marker.exists()


def test_lightning_executes_an_address(
    content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    (tmp_path / "work").mkdir()
    marker = tmp_path / "executed"
    torch.save({"state_dict": Call(os.mkdir, str(marker))}, tmp_path / "work" / "evil.ckpt")
    with pytest.raises(KeyError):
        BoringModel.load_from_checkpoint(f"{address}/evil.ckpt")
    assert marker.exists()


@pytest.mark.parametrize("way", ["address", "environment"])
def test_lightnings_trainer_executes_them(
    way: str, content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr("vae_zoo.models.base.autoencoder.read_plainly", lambda strategy: None)
    (tmp_path / "work").mkdir()
    path = tmp_path / "work" / "evil.ckpt"
    torch.save(planted(content, "anything", value=Call(os.mkdir, str(tmp_path / "executed"))), path)
    given = f"{address}/evil.ckpt"
    if way == "environment":
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
        monkeypatch.setattr("warnings.warn", lambda *args, **kwargs: None)  # torch's, of the variable
        given = str(path)
    quiet_trainer(tmp_path).validate(tiny(VAE), tiny_data(), ckpt_path=given, verbose=False)
    assert (tmp_path / "executed").exists()
