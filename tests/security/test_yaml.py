"""Hostile text: configurations and sweeps that run code when read, or expand beyond memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from short import few

from .hostile import BOMB

SECONDS = 2.0  # of the processor, the making of the parser included, on a slow machine
TEXTS = {
    "apply": "model: !!python/object/apply:os.mkdir [{marker}]",
    "new": "model: !!python/object/new:os.mkdir [{marker}]",
    "object": "model: !!python/object:evil_mod.EvilVAE {{}}",
    "name": "model: !!python/name:os.system ''",
    "module": "model: !!python/module:evil_mod ''",
    "in a list": "trainer: {{callbacks: [!!python/object/apply:os.mkdir [{marker}]]}}",
    "a tag of a class": "--- !python/object/apply:subprocess.Popen\nargs: [touch, {marker}]",
    "aliases of aliases": "model: {bomb}",
    "a value within itself": "model: &a [*a]",
    "a mapping within itself": "model: &a {{class_path: VAE, init_args: *a}}",
    "merged mappings": "a: &a {{x: 1, y: 2}}\n{merged}",
    "deep": "model: " + "[" * 5000 + "]" * 5000,
    "deep in blocks": "model:\n" + "".join(" " * n + "-\n" for n in range(1, 400)),
    "a number of many digits": "model: " + "9" * 1_000_000,
    "a number to the base of sixty": "model: " + ":".join(["1"] * 400_000),
    "long": "# " + "x" * (2**20 + 1),
    "many": "model: [" + "1, " * 200_000 + "1]",
}


def text(name: str, marker: Path) -> str:
    lines = "".join(
        f"{b}: &{b} {{<<: [{', '.join([f'*{a}'] * 40)}]}}\n" for a, b in zip("abcdef", "bcdefg", strict=True)
    )
    bomb = "\n" + "".join(f"  {line}\n" for line in BOMB.splitlines())
    template = TEXTS[name]
    return template.format(marker=marker, bomb=bomb, merged=lines) if "{" in template else template


PARSED = ("apply", "name", "aliases of aliases", "a mapping within itself", "deep", "many")  # by the parser alone
WAYS = [(name, way) for name in TEXTS for way in ("fit --config evil", "sweep-check evil")]
WAYS += [(name, "--config evil fit") for name in PARSED]


@pytest.mark.parametrize(("name", "way"), few(WAYS, 8))
def test_hostile_text(name: str, way: str, marker: Path, refused: Callable) -> None:
    Path("evil").write_text(text(name, marker))
    start = time.process_time()
    refused(*way.split())
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize("name", few(["apply", "aliases of aliases", "a value within itself", "deep", "many"], 1))
def test_hostile_text_in_a_file_that_an_option_names(name: str, marker: Path, refused: Callable) -> None:
    Path("evil").write_text(text(name, marker).removeprefix("model: "))
    start = time.process_time()
    refused("fit", "--data", "Digits", "--model", "evil")
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize("name", few(["apply", "aliases of aliases", "deep"], 1))
def test_hostile_text_as_a_value(name: str, marker: Path, refused: Callable) -> None:
    value = text(name, marker).removeprefix("model: ")
    start = time.process_time()
    refused("fit", "--model", "VAE", "--data", "Digits", "--model.latent_dim", value)
    assert time.process_time() - start < SECONDS


@pytest.mark.slow  # imports wandb
def test_a_sweep_names_no_class_of_others(refused: Callable) -> None:
    for parameters in (
        "model: {value: evil_mod.EvilVAE}",
        "model: {value: VAE}\n  model.encoder: {value: evil_mod.EvilNet}",
    ):
        Path("evil.yaml").write_text(
            "program: vae-zoo\nmethod: grid\ncommand: ['${env}', '${program}', fit, --trust, evil_mod, --config, "
            "vae_digits, --config, wandb, '${args}']\nmetric: {name: val/elbo, goal: maximize}\n"
            f"parameters:\n  {parameters}\n"
        )
        assert "is not trusted: add --trust evil_mod" in refused("sweep-check", "evil.yaml")


def test_a_config_at_an_address_or_a_device_is_none(refused: Callable) -> None:
    for path in ("http://127.0.0.1:9/evil.yaml", "file:///dev/zero", "/dev/zero"):
        assert "no config file" in refused("fit", "--config", path)


def test_ordinary_anchors_are_read(run: Callable) -> None:
    Path("mine.yaml").write_text(
        "model: &vae {class_path: MLPVAE, init_args: {encoder: &net {class_path: Dense, init_args: {hidden: [8]}}, "
        "decoder: *net}}\ndata: Digits\n"
    )
    outcome = run("fit", "--config", "mine.yaml", "--print_config")
    assert outcome.code == 0, outcome.err
    assert yaml.safe_load(outcome.out)["model"]["init_args"]["decoder"]["init_args"]["hidden"] == [8]


# What shows that the probes would be seen.


@pytest.mark.parametrize("name", ["apply", "new", "in a list", "a tag of a class"])
def test_an_unsafe_loader_executes_it(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    hostile = text(name, marker).replace("--- !python", "--- !!python")
    if name == "a tag of a class":
        hostile = f"--- !!python/object/apply:subprocess.check_call\nargs: [[touch, {marker}]]"
    yaml.unsafe_load(hostile)
    assert marker.exists()
