"""``vae-zoo show NAME``: one class or configuration in full, read from the sources without imports."""

from __future__ import annotations

import shutil
from itertools import groupby
from textwrap import fill

from vae_zoo.cli.commands.list import chosen
from vae_zoo.cli.errors import nearest
from vae_zoo.cli.inspect.configs import packaged
from vae_zoo.cli.inspect.options import LINKED, choices
from vae_zoo.cli.inspect.sources import arguments, find, public
from vae_zoo.cli.verbs import VerbParser
from vae_zoo.system.docstrings import summary

COMPONENTS = ("nn", "distributions", "penalties", "samplers", "callbacks")
"""Modules of components of models, data and the Trainer."""


def show(args: list[str]) -> None:
    """Print a class or a configuration.

    Raises:
        ValueError: If nothing has that name.
    """
    parser = VerbParser("show", "Show a model, data set, component or packaged configuration.")
    parser.add_argument("name", metavar="NAME", help="for instance BetaVAE, Digits, Dense or vae_digits")
    name = parser.parse_args(args).name
    configs, classes = packaged(), named()
    if name in classes:
        show_class(name, *classes[name])
    elif (stem := name.removesuffix(".yaml")) in configs:
        print(f"# {configs[stem]}\n{configs[stem].read_text(encoding='utf-8').rstrip()}")  # a config file still
    else:
        near = nearest(name, [*classes, *configs]) or "; vae-zoo list shows models, data sets and configurations."
        raise ValueError(f"there is no {name}{near}")


def named() -> dict[str, tuple[str, str]]:
    """All classes that configurations may name, with their group (empty for components) and path."""
    components = {name: ("", path) for part in COMPONENTS for name, path in public(f"vae_zoo.{part}").items()}
    return components | {name: (group, path) for group in ("data", "model") for name, path in choices(group).items()}


def show_class(name: str, group: str, path: str) -> None:
    """Print the summary and the arguments of a class."""
    source = find(path)
    line, paper, link = summary(source.doc if source else "")
    using = [config.stem for config in packaged().values() if group and chosen(config, group) == name]
    options = [argument for argument in arguments(path) if argument.by_name or argument.default is not None]
    taken = [argument for argument in options if not (group == "model" and argument.name in LINKED)]
    required = "".join(f" --{group}.{argument.name} …" for argument in taken if argument.default is None)
    config = f"vae_{name.lower()}"
    data = f"--config {config}" if config in using else f"--model VAE --data {name}{required}"
    run = {"model": first_fit(name, required), "data": data}
    print(_wrapped(f"{name}: {line}", 0))
    for title, text in (
        ("paper", paper),
        ("", link),
        ("configs", ", ".join(sorted(using))),
        ("run it", f"vae-zoo fit {run[group]}" if group else ""),
        ("path", path),
    ):
        if text:
            print(_wrapped(f"  {title:9}{text}", 11))
    for owner, theirs in groupby(taken, lambda argument: argument.owner):
        print(f"\narguments{'' if owner == name else f' from {owner}'}")
        for argument in theirs:
            flag = f"--{group}.{argument.name}" if group else argument.name
            default = "" if argument.default is None else f" = {argument.default}"
            print(f"  {flag}  {argument.annotation}{default}")
            print(_wrapped(f"      {argument.line}", 6))


def first_fit(name: str, required: str = "") -> str:
    """Arguments of a first fit of a model: its measured configuration, that for the digits if there is one."""
    own = [stem for stem, path in packaged().items() if chosen(path, "model") == name]
    stems = sorted(own, key=lambda stem: not stem.endswith("_digits"))
    return f"--config {stems[0]}" if stems else f"--model {name}{required} --data Digits --trainer.max_epochs 20"


def _wrapped(text: str, indent: int) -> str:
    width = min(shutil.get_terminal_size((120, 24)).columns, 120)
    return fill(text, width, subsequent_indent=" " * indent, break_long_words=False, break_on_hyphens=False)
