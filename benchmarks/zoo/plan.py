"""What each variant is run with: its own arguments from its packaged configuration, all others the same for all."""

from __future__ import annotations

import copy
import inspect
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from vae_zoo import models
from vae_zoo.models import Autoencoder

CONFIGS = Path(__file__).parents[2] / "configs"

SCHEDULES = ("num_steps", "num_epochs")
"""Lengths of schedules, which are shortened in the same proportion as the run."""

SIZES = ("grid", "top_grid")
"""Arguments that suit examples of one size: those of a configuration for other data are left to the defaults."""

TRAINING = ("optimizer", "scheduler", "posterior")
"""Arguments that are no part of a variant, and are listed where its configuration has others than the defaults."""


class Setting(NamedTuple):
    """What all variants have in common on some data.

    Args:
        epochs: Epochs of each run.
        latent_dim: Latent dimensions.
        hidden: Widths of the dense networks.
        likelihood: Family of p(x|z).
        data: Arguments of the data module.
        factors: Whether the data have factors, so that disentanglement can be measured.
        num_tested: Number of test images that are measured, the first ones; None for all of them.
    """

    epochs: int
    latent_dim: int
    hidden: list[int]
    likelihood: dict[str, Any] | str
    data: dict[str, Any]
    factors: bool = False
    num_tested: int | None = None


SETTINGS = {
    "Digits": Setting(40, 8, [256, 256], {"class_path": "FixedNormal", "init_args": {"scale": 0.2}}, {}),
    "MNIST": Setting(5, 32, [512, 512], "Bernoulli", {"batch_size": 128, "eval_batch_size": 250}, num_tested=1000),
    "Sprites": Setting(20, 10, [256, 256], "Bernoulli", {"image_size": 32, "batch_size": 64}, factors=True),
}


class Plan(NamedTuple):
    """What to run for one variant.

    Args:
        config: Configuration of model, data and callbacks, as the command reads it.
        own: Which arguments are not those of all others, and what they are instead.
    """

    config: dict[str, Any]
    own: dict[str, str]


def variants() -> list[str]:
    """Names of all models that can be built, the plain VAE first."""
    names = [name for name in models.__all__ if not inspect.isabstract(getattr(models, name))]
    return sorted(names, key=lambda name: (name != "VAE", name.lower()))


def plan(name: str, data: str) -> Plan:
    """The configuration of a variant on some data."""
    cls, setting = getattr(models, name), SETTINGS[data]
    packaged = packaged_config(name, data)
    args = copy.deepcopy(packaged["model"].get("init_args", {})) if packaged else {}
    if packaged and said(packaged["data"]).partition("(")[0] != data:
        args = {key: value for key, value in args.items() if key not in SIZES}
    trainer = copy.deepcopy(packaged.get("trainer", {}))
    dense = {"class_path": "Dense", "init_args": {"hidden": setting.hidden}}
    common = {
        "latent_dim": setting.latent_dim,
        "encoder": dense,
        "decoder": dense,
        "likelihood": setting.likelihood,
    }
    own = {}
    for argument, value in common.items():
        if keeps(cls, argument, args.get(argument)):
            own[argument] = fixed(cls).get(argument) or said(args.get(argument, default(cls, argument)))
        else:
            args[argument] = value
    own |= {key: said(args[key]) for key in TRAINING if key in args and owner(cls, key) is Autoencoder}
    if "latent_dims" in args:
        own["latent_dims"] = said(args["latent_dims"])
        own.pop("latent_dim", None)
    share = setting.epochs / trainer.get("max_epochs", setting.epochs)
    callbacks = trainer.get("callbacks", [])
    for given in (args, *(callback.get("init_args", {}) for callback in callbacks)):
        for key in SCHEDULES:
            if key in given:
                given[key] = max(1, round(given[key] * share))
    if callbacks:
        own["callbacks"] = ", ".join(map(said, callbacks))
    loaded = data_config(packaged.get("data", {}), data, setting)
    own |= {key: said(value) for key, value in loaded["init_args"].items() if key not in (*setting.data, "data")}
    own |= {} if loaded["class_path"] == data else {"data": loaded["class_path"]}
    return Plan(
        {
            "model": {"class_path": name, "init_args": args},
            "data": loaded,
            "trainer": {"max_epochs": setting.epochs, "callbacks": callbacks},
        },
        own,
    )


def packaged_config(name: str, data: str) -> dict[str, Any]:
    """The packaged configuration of a variant: for data with factors, or else for the digits, or else any; {} if none.

    Those for MNIST repeat protocols of papers, which differ in more than the variant.
    """
    found = {stem.rpartition("_")[2]: content for stem, model, content in _packaged() if model == name}
    first = data.lower() if SETTINGS[data].factors else "digits"
    return next((found[key] for key in (first, "digits", *found) if key in found), {})


@cache
def _packaged() -> list[tuple[str, str, dict[str, Any]]]:
    """Name, model and content of each packaged configuration."""
    contents = [(path.stem, yaml.safe_load(path.read_text())) for path in sorted(CONFIGS.glob("*.yaml"))]
    return [(stem, said(content["model"]).partition("(")[0].rpartition(".")[2], content) for stem, content in contents]


def data_config(packaged: Any, data: str, setting: Setting) -> dict[str, Any]:
    """The data module: what a variant needs of it, such as few labels or pairs, stays."""
    packaged = {"class_path": packaged} if isinstance(packaged, str) else packaged
    args = packaged.get("init_args", {})
    if "data" in args:  # one data module around another
        inner = {"class_path": data, "init_args": dict(setting.data)}
        return {"class_path": packaged["class_path"], "init_args": {**args, "data": inner}}
    labels = {key: value for key, value in args.items() if key == "num_labels"}
    return {"class_path": data, "init_args": {**setting.data, **labels}}


def keeps(cls: type, argument: str, packaged: Any) -> bool:
    """Whether an argument belongs to what a variant changes: it has its own default or none, or other networks."""
    if owner(cls, argument) is not Autoencoder or argument in fixed(cls):
        return True
    networks = argument in ("encoder", "decoder") and packaged is not None
    return networks and said(packaged).partition("(")[0] != "Dense"


def fixed(cls: type) -> dict[str, str]:
    """Arguments that a class fixes itself, and why."""
    return {name: why for base in cls.__mro__ for name, why in vars(base).get("fixed", {}).items()}


def owner(cls: type, argument: str) -> type | None:
    """The outermost class whose constructor names an argument."""
    return next((base for base in cls.__mro__ if argument in parameters(base)), None)


def default(cls: type, argument: str) -> Any:
    """The default of an argument, as the outermost class has it."""
    found = owner(cls, argument)
    return parameters(found)[argument].default if found else None


def parameters(cls: type) -> dict[str, inspect.Parameter]:
    """Parameters of the constructor that a class itself defines."""
    return dict(inspect.signature(vars(cls)["__init__"]).parameters) if "__init__" in vars(cls) else {}


def said(value: Any) -> str:
    """An argument in words: ``GridEncoder(width=32)``."""
    if isinstance(value, dict) and "class_path" in value:
        args = ", ".join(f"{key}={said(given)}" for key, given in value.get("init_args", {}).items())
        return value["class_path"].rpartition(".")[2] + (f"({args})" if args else "")
    return value.__name__ if isinstance(value, type) else str(value)
