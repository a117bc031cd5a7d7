"""What is read from the sources agrees with Python and the parser."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer
from short import few

from vae_zoo import data, models
from vae_zoo.cli.inspect.options import groups
from vae_zoo.cli.inspect.sources import arguments, find, is_concrete, method, public
from vae_zoo.system.docstrings import described

PARTS = ("models", "data", "nn", "distributions", "callbacks")
CLASSES = [
    f"vae_zoo.{part}.{name}"
    for part in PARTS
    for name, cls in vars(import_module(f"vae_zoo.{part}")).items()
    if name in import_module(f"vae_zoo.{part}").__all__
    and inspect.isclass(cls)
    and not issubclass(cls, tuple)  # named tuples have fields
]


@pytest.mark.parametrize("path", few(CLASSES, 30))
def test_arguments_are_those_that_the_parser_finds(path: str) -> None:
    module, _, name = path.rpartition(".")
    cls = getattr(import_module(module), name)
    theirs = ArgumentParser().add_class_arguments(cls, "x", fail_untyped=False)
    assert {f"x.{argument.name}" for argument in arguments(path)} == set(theirs)
    assert public(module)[name] == path
    source = find(path)
    assert source
    assert inspect.cleandoc(source.node.body[0].value.value) == inspect.getdoc(cls)  # type: ignore[attr-defined]


def test_inheritance_is_followed() -> None:
    owners = {argument.name: argument.owner for argument in arguments("vae_zoo.models.CIWAE")}
    assert (owners["beta"], owners["num_samples"]) == ("CIWAE", "IWAE")
    assert (owners["prior"], owners["latent_dim"]) == ("VAE", "Autoencoder")
    assert "posterior" not in {argument.name for argument in arguments("vae_zoo.models.LadderVAE")}, "it is fixed there"
    concrete = {name for name, path in public("vae_zoo.models").items() if is_concrete(path, "vae_zoo.models.VAE")}
    assert concrete == {name for name in models.__all__ if issubclass(getattr(models, name), models.VAE)}


def test_concrete_data_sets() -> None:
    """Also those whose attributes take the place of an abstract property, such as Sprites."""
    root = "vae_zoo.data.DataModule"
    concrete = {name for name, path in public("vae_zoo.data").items() if is_concrete(path, root)}
    classes = {name: getattr(data, name) for name in data.__all__}
    modules = {n: c for n, c in classes.items() if isinstance(c, type) and issubclass(c, data.DataModule)}
    assert concrete == {name for name, cls in modules.items() if not inspect.isabstract(cls)}
    assert {"Sprites", "DSprites", "EmojiPeople"} <= concrete


def test_every_argument_of_a_model_is_described() -> None:
    for name, path in public("vae_zoo.models").items():
        for argument in arguments(path):
            assert argument.line, f"{name}.{argument.name}"


def test_descriptions() -> None:
    doc = "A.\n\nArgs:\n    a: First, see :class:`~x.y.B`,\n        in two lines.\n    b: ``c``.\n\nRaises:\n    d: e."
    assert described(doc) == {"a": "First, see B, in two lines.", "b": "c."}


def test_what_is_not_there() -> None:
    assert find("vae_zoo.models.Nothing") is find("nowhere.Class") is find("Class") is None
    assert arguments("nowhere.Class") == []
    assert public("vae_zoo.nothing") == {}


@pytest.mark.parametrize("verb", ["fit", "validate", "test", "predict"])
def test_options_are_those_of_the_help(verb: str, run: Callable) -> None:
    assert method("lightning.pytorch.Trainer", verb) == list(inspect.signature(getattr(Trainer, verb)).parameters)[1:]
    shown = set(re.findall(r"^ +(?:-c .*?, )?--([\w.]+)", run(verb, "--help-all").out, re.MULTILINE))
    shown = {name for name in shown if not name.endswith("help")}
    known = {f"{group}.{name}" if name else group for group, names in groups(verb).items() for name in ["", *names]}
    assert known - {"c"} == shown
