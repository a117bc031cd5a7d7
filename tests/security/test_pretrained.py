"""Hostile folders of shared models: classes, values and weights in files that anybody may have uploaded."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny

from vae_zoo import hub
from vae_zoo.models import VAE

from .hostile import Call


@pytest.fixture
def shared(marker: Path) -> Path:
    """A sound folder, to be changed; the module that makes the marker lies beside it."""
    folder = marker.parent / "work" / "model"
    tiny(VAE).save_pretrained(folder)
    return folder


def change(folder: Path, *place: str, value: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    at = config
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    (folder / "config.json").write_text(json.dumps(config))


CLASSES = [
    "evil_mod.Evil",
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torch.hub.load",
    "torch.utils.cpp_extension.load",
    "lightning.pytorch.cli.LightningCLI",
    "vae_zoo.cli.main",
]


@pytest.mark.parametrize("path", CLASSES)
@pytest.mark.parametrize("place", [("class_path",), ("init_args", "encoder"), ("init_args", "optimizer")])
def test_a_class(path: str, place: tuple[str, ...], shared: Path) -> None:
    value: Any = path if place == ("class_path",) else {"class_path": path, "init_args": {}}
    change(shared, "model", *place, value=value)
    for load in (hub.from_pretrained, hub.load, VAE.from_pretrained):
        with pytest.raises(ValueError, match=r"is not trusted|not allowed here|does not fit"):
            load(shared)


@pytest.mark.parametrize("path", ["evil_mod.Evil", "os.system"])
def test_a_class_as_a_word(path: str, shared: Path) -> None:
    change(shared, "model", "init_args", "encoder", value=path)
    with pytest.raises(ValueError, match=r"is not trusted|not allowed here|does not fit"):
        hub.from_pretrained(shared)


def test_weights_that_are_a_pickle(shared: Path, marker: Path) -> None:
    payload = {"a": Call(__import__("os").mkdir, str(marker))}
    for write in (lambda path: torch.save(payload, path), lambda path: path.write_bytes(pickle.dumps(payload))):
        write(shared / "model.safetensors")
        with pytest.raises(ValueError, match="is damaged, or no file of weights"):
            hub.from_pretrained(shared)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"model": ' * 200 + "1" + "}" * 200, '"' + "a" * 2**20 + '"', "{}"])
def test_a_configuration_that_is_none(text: str, shared: Path) -> None:
    (shared / "config.json").write_text(text)
    with pytest.raises(ValueError, match=r"is no configuration|nested deeper|longer than|names no model"):
        hub.from_pretrained(shared)


def test_trust_opens_what_is_named(shared: Path, marker: Path) -> None:
    (marker.parent / "work" / "mine_mod.py").write_text("from vae_zoo.models import VAE\n\n\nclass Mine(VAE): ...\n")
    change(shared, "model", "class_path", value="mine_mod.Mine")
    with pytest.raises(ValueError, match=r"mine_mod\.Mine is not trusted"):
        hub.from_pretrained(shared)
    assert type(hub.load(shared, trust=["mine_mod"])).__name__ == "Mine"
