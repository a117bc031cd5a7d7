"""Addresses in place of classes, groups and files: refused by their form, without a request."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from short import few

import vae_zoo

from .conftest import Served
from .hostile import planted

ORDINARY = "--model VAE --data Digits"
OPTIONS = {
    "model": "fit --data Digits --model {}",
    "data": "fit --model VAE --data {}",
    "data of a test": "test --ckpt_path sound.ckpt --data {}",
    "trainer": f"fit {ORDINARY} --trainer {{}}",
    "checkpoint": f"fit {ORDINARY} --checkpoint {{}}",
    "callbacks": f"fit {ORDINARY} --trainer.callbacks {{}}",
    "another callback": f"fit {ORDINARY} --trainer.callbacks+={{}}",
    "logger": f"fit {ORDINARY} --trainer.logger {{}}",
    "plugins": f"fit {ORDINARY} --trainer.plugins {{}}",
    "encoder": f"fit {ORDINARY} --model.encoder {{}}",
    "optimizer": f"fit {ORDINARY} --model.optimizer {{}}",
    "class_path": f"fit {ORDINARY} --model.encoder.class_path {{}}",
    "a list": f"fit {ORDINARY} --model.encoder.hidden {{}}",
    "config": "fit --config {}",
    "config of all verbs": "--config {} fit",
    "checkpoint to go on from": "fit --ckpt_path {}",
    "sample": "sample --out a.png --ckpt_path {}",
    "export": "export --out a --ckpt_path {}",
}
CONFIGS = {
    "model": "model: {}\ndata: Digits",
    "data": "model: VAE\ndata: {}",
    "trainer": "trainer: {}",
    "callbacks": "trainer: {{callbacks: '{}'}}",
    "a callback": "trainer: {{callbacks: ['{}']}}",
    "class_path": "model: {{class_path: '{}'}}\ndata: Digits",
    "encoder": "model: {{class_path: VAE, init_args: {{encoder: '{}'}}}}\ndata: Digits",
    "encoder's class": "model: {{class_path: VAE, init_args: {{encoder: {{class_path: '{}'}}}}}}\ndata: Digits",
    "a number": "model: {{class_path: VAE, init_args: {{latent_dim: '{}'}}}}\ndata: Digits",
    "a path": "model: VAE\ndata: {{class_path: Arrays, init_args: {{path: '{}'}}}}",
}


@pytest.fixture
def opened(marker: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What fsspec is asked to open, of whatever protocol."""
    seen: list[Any] = []
    monkeypatch.setattr(fsspec, "open", lambda *args, **kwargs: seen.append(args))
    Path("net.yaml").write_text("class_path: vae_zoo.nn.Dense")
    return seen


@pytest.mark.parametrize("place", few(OPTIONS, 5))
def test_an_option(place: str, content: dict[str, Any], address: str, refused: Callable) -> None:
    torch.save(content, "sound.ckpt")
    Path("net.yaml").write_text("class_path: vae_zoo.nn.Dense")
    said = refused(*OPTIONS[place].format(f"{address}/net.yaml").split())
    assert not Served.requests
    assert any(words in said for words in ("address", "no config file", "no checkpoint", "download", "xpected"))


@pytest.mark.parametrize("place", few(CONFIGS, 2))
def test_a_value_of_a_config(place: str, address: str, refused: Callable) -> None:
    Path("net.yaml").write_text("class_path: vae_zoo.nn.Dense")
    Path("sound.yaml").write_text("model: VAE\ndata: Digits")
    Path("evil.yaml").write_text(CONFIGS[place].format(f"{address}/net.yaml"))
    refused("fit", "--config", "sound.yaml", "--config", "evil.yaml")
    assert not Served.requests


@pytest.mark.parametrize(
    "scheme", few(["https://", "ftp://", "s3://", "gs://", "hf://", "file://", "file:", "memory://", "zip::http://"], 2)
)
def test_of_any_kind(scheme: str, opened: list[Any], refused: Callable) -> None:
    assert f"--model: {scheme}a.invalid/net.yaml is an address" in refused(
        "fit", "--model", f"{scheme}a.invalid/net.yaml"
    )
    Path("evil.yaml").write_text(
        f"model: {{class_path: VAE, init_args: {{encoder: '{scheme}a.invalid/x'}}}}\ndata: Digits"
    )
    assert "is an address, and nothing is fetched" in refused("fit", "--config", "evil.yaml")
    assert not opened


@pytest.mark.parametrize(
    "keys", few(map(pytest.param, [("encoder",), ("encoder", "class_path"), ("optimizer",), ("latent_dim",)]), 1)
)
def test_a_value_of_a_checkpoint(
    keys: tuple[str, ...], content: dict[str, Any], address: str, refused: Callable
) -> None:
    Path("net.yaml").write_text("class_path: vae_zoo.nn.Dense")
    for inner in (("hyper_parameters",), ("vae_zoo", "model", "init_args")):
        value: Any = f"{address}/net.yaml"
        planted(content, *inner, keys[0], value={keys[1]: value} if keys[1:] else value)
    torch.save(content, "evil.ckpt")
    refused("test", "--ckpt_path", "evil.ckpt")
    with pytest.raises(ValueError, match=r"evil\.ckpt"):
        vae_zoo.load("evil.ckpt")
    assert not Served.requests


def test_an_address_is_requested_without_care(address: str, marker: Path) -> None:
    """What shows that the probe would be seen."""
    Path("net.yaml").write_text("class_path: vae_zoo.nn.Dense")
    with fsspec.open(f"{address}/net.yaml", "r") as file:
        assert file.read()
    assert Served.requests
