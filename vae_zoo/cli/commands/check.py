"""``vae-zoo check``: the conformance suite on one class."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from vae_zoo.cli.errors import nearest
from vae_zoo.cli.terminal import greet
from vae_zoo.cli.verbs import VerbParser

DESCRIPTION = """Run the conformance suite on a model and print a table of results.
Exit code 0 if all is well, 1 if a check fails."""


def parser() -> VerbParser:
    """The options of the verb."""
    made = VerbParser("check", DESCRIPTION)
    made.add_argument("model", metavar="CLASS", help="a model of the zoo, or my_file.MyVAE from the working folder")
    made.add_argument("--only", nargs="+", default=[], metavar="CHECK", help="run these checks alone")
    made.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="arguments of the class")
    return made


def check(args: list[str]) -> None:
    """Run ``vae-zoo check CLASS``; exit with 1 if a check fails.

    Raises:
        ValueError: If there is no such class or check, or an argument of the class is invalid.
    """
    options = parser().parse_args(args)
    kwargs = dict(_pair(text) for text in options.set)
    greet("check", options.model, piped=True)

    import torch

    from vae_zoo.testing import CHECKS, examine

    torch.set_num_threads(1)
    for name in options.only:
        if name not in CHECKS:
            raise ValueError(f"there is no check {name}{nearest(name, CHECKS)}: they are {', '.join(CHECKS)}.")
    cls = find_class(options.model)
    report = examine(cls, only=tuple(options.only), **kwargs)
    report.show()
    if not report.passed:
        sys.exit(1)


def find_class(name: str) -> type:
    """A model by its short name, or by its path.

    Raises:
        ValueError: If there is none.
    """
    from vae_zoo import models

    path, _, short = name.rpartition(".")
    path = path or "vae_zoo.models"
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            raise ValueError(f"there is no module {path} in the working folder or installed.") from None
        raise
    cls: Any = getattr(module, short, None)
    known = models.__all__ if path == "vae_zoo.models" else [n for n, v in vars(module).items() if isinstance(v, type)]
    if not isinstance(cls, type):
        raise ValueError(f"there is no class {short} in {path}{nearest(short, known)}")
    if not issubclass(cls, models.Autoencoder):
        raise ValueError(f"{name} is no Autoencoder: derive it from vae_zoo.models.Autoencoder or VAE.")
    if cls.__abstractmethods__:
        raise ValueError(f"{name} is abstract: it lacks {', '.join(sorted(cls.__abstractmethods__))}.")
    return cls


def _pair(text: str) -> tuple[str, Any]:
    import yaml

    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ValueError(f"--set takes NAME=VALUE, got {text}.")
    return name, yaml.safe_load(value)
