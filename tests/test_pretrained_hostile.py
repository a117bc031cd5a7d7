"""Hostile and damaged folders of shared models."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import tiny
from safetensors.torch import save_file

from vae_zoo import hub
from vae_zoo.models import VAE
from vae_zoo.security.limits import MAX_TEXT


class Own(VAE):
    """A user's own, in a module that is imported."""


def test_a_users_own_class(tmp_path: Path) -> None:
    tiny(Own).save_pretrained(tmp_path)
    assert type(hub.from_pretrained(tmp_path)) is Own
    config = json.loads((tmp_path / "config.json").read_text())
    config["model"]["class_path"] = "not_imported.Own"
    (tmp_path / "config.json").write_text(json.dumps(config))
    sys.modules.pop("not_imported", None)
    with pytest.raises(ValueError, match=r"not_imported\.Own is not trusted: if you trust its code, give"):
        hub.from_pretrained(tmp_path)


HOSTILE = [
    {"class_path": "os.system"},
    {"class_path": "subprocess.Popen", "init_args": {"args": "touch escaped"}},
    {"class_path": "builtins.eval"},
    {"class_path": "escape.VAE"},
    {"class_path": "vae_zoo.__main__.VAE"},
    {"class_path": "vae_zoo.cli.main"},
    {"class_path": "torch.nn.os.system"},
    {"class_path": "torch.optim.optimizer.warnings.warn"},
    {"class_path": "torch.load"},
    {"class_path": "vae_zoo.models.VAE", "init_args": {"shape": [3], "encoder": {"class_path": "escape.Net"}}},
    {"class_path": "vae_zoo.models.VAE", "init_args": {"shape": [3], "encoder": "escape.Net"}},
    {"class_path": "vae_zoo.models.VAE", "init_args": {"shape": [3], "optimizer": "os.system"}},
    {"class_path": "vae_zoo.models.VAE", "init_args": {"shape": [3], "optimizer": {"class_path": "escape.Adam"}}},
    {"class_path": "vae_zoo.models.VAE", "init_args": {"shape": [3], "more": [{"deep": ["escape.Net"]}]}},
    {"class_path": "vae_zoo.nn.Dense", "init_args": {}},
    {"class_path": ["os.system"]},
    {"class_path": None},
    {"init_args": {}},
]


@pytest.mark.parametrize("recorded", HOSTILE, ids=lambda r: json.dumps(r)[:70])
def test_a_hostile_configuration(recorded: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "escape.py").write_text("open('escaped', 'w')\n")
    tiny(VAE).save_pretrained(tmp_path / "a")
    (tmp_path / "a" / "config.json").write_text(json.dumps({"model": recorded}))
    with pytest.raises(
        ValueError,
        match=r"is not trusted|names no model|is not allowed here|does not fit|is no path of a class|there is no class"
        r"|has no argument more|is no Autoencoder",
    ):
        hub.from_pretrained(tmp_path / "a")
    assert not (tmp_path / "escaped").exists()
    assert "escape" not in sys.modules


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("config.json", "{", "is no configuration"),
        ("config.json", "[1]", "is not of vae_zoo: it names no model"),
        ("config.json", "{}", "is not of vae_zoo: it names no model"),
        ("config.json", "[" * 100000, "is no configuration"),
        ("config.json", " " * (MAX_TEXT + 1), "is longer than 1 MiB"),
        ("model.safetensors", "hello", "is damaged, or no file of weights"),
        ("config.json", None, "is no model: it has no config.json"),
        ("model.safetensors", None, "has no model.safetensors"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_damaged_files(name: str, content: str | None, said: str, tmp_path: Path) -> None:
    tiny(VAE).save_pretrained(tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(said)):
        hub.from_pretrained(tmp_path)


def test_weights_of_another_model(tmp_path: Path) -> None:
    tiny(VAE).save_pretrained(tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="do not fit its model: Missing key"):
        hub.from_pretrained(tmp_path)


@pytest.mark.parametrize("classes", [5, "abc", {"a": 1}, [["a"]], [None]], ids=json.dumps)
def test_classes_that_are_no_labels(classes: Any, tmp_path: Path) -> None:
    tiny(VAE).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"classes": classes}))
    with pytest.raises(ValueError, match="classes must be a list of labels, got "):
        hub.from_pretrained(tmp_path)
