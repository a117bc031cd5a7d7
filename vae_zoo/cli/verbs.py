"""The verbs of the command, and the help that lists them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import NamedTuple, NoReturn

import vae_zoo
from vae_zoo.cli.errors import nearest_or_all


class Verb(NamedTuple):
    """One verb.

    Args:
        name: What is typed.
        line: What it does.
        function: ``module:function``, imported when the verb is asked for, and called with what follows the verb.
    """

    name: str
    line: str
    function: str


VERBS = (
    Verb("fit", "train and validate a model", "vae_zoo.cli.commands.fit:fit"),
    Verb("validate", "figures of the validation split, from a checkpoint", "vae_zoo.cli.commands.fit:validate"),
    Verb("test", "figures of the test split, from a checkpoint", "vae_zoo.cli.commands.fit:test"),
    Verb("predict", "latents, reconstructions and samples, from a checkpoint", "vae_zoo.cli.commands.fit:predict"),
    Verb("sample", "pictures or arrays of what a model generates", "vae_zoo.cli.commands.sample:sample"),
    Verb("export", "encoder and decoder for a process without vae_zoo", "vae_zoo.cli.commands.export:export"),
    Verb("list", "models, data sets and configurations that there are", "vae_zoo.cli.commands.list:show"),
    Verb("show", "one of them in full: what it is, its paper, its arguments", "vae_zoo.cli.commands.show:show"),
    Verb("check", "put a model through the conformance suite", "vae_zoo.cli.commands.check:check"),
    Verb("sweep-check", "whether the runs of a W&B sweep would start", "vae_zoo.cli.commands.sweep_check:sweep_check"),
    Verb("sweep-run", "run a sweep here, without an account", "vae_zoo.cli.commands.sweep_run:sweep_run"),
    Verb("sweep-table", "a table and a picture of runs that there are", "vae_zoo.cli.commands.sweep_table:sweep_table"),
    Verb("schema", "a JSON schema of configurations, for an editor", "vae_zoo.cli.commands.schema:show"),
    Verb(
        "completion", "a script that completes the command in bash, zsh or fish", "vae_zoo.cli.commands.completion:show"
    ),
)
RUNS = ("fit", "validate", "test", "predict")
"""Verbs of Lightning's, which take a configuration."""

HELP = """vae-zoo {version}: variational autoencoders for PyTorch Lightning

usage: vae-zoo VERB [options]

verbs:
{verbs}

options:
  -h, --help         this text; vae-zoo VERB --help has the options of a verb
  --version          the version
  --trust PACKAGE    of any verb: checkpoints and configurations may name classes of this package, such as my_vae

examples:
  vae-zoo fit --config vae_digits --wandb
  vae-zoo fit --model BetaVAE --data Digits --model.beta 2 --trainer.max_epochs 20
  vae-zoo test --ckpt_path results/BetaVAE_Digits/fit_0/checkpoints/last.ckpt"""


class VerbParser(argparse.ArgumentParser):
    """Arguments of a verb that is not Lightning's, whose mistakes are raised."""

    def __init__(self, verb: str, description: str) -> None:
        super().__init__(f"vae-zoo {verb}", description=description, allow_abbrev=False)

    def add_checkpoint(self) -> None:
        """Add ``--ckpt_path``, which must be there."""
        what = "a checkpoint, or a folder with model.safetensors and config.json"
        self.add_argument("--ckpt_path", type=_trained, required=True, metavar="PATH", help=what)

    def names(self) -> list[str]:
        """Names of the options."""
        return [name.removeprefix("--") for action in self._actions for name in action.option_strings[-1:]]

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong, for :func:`vae_zoo.cli.errors.one_line_errors` to print."""
        raise ValueError(f"{message}: see {self.prog} --help.")


def _trained(text: str) -> Path:
    """A checkpoint that is there."""
    path = Path(text)
    if not path.is_file() and not (path / "config.json").is_file():
        raise argparse.ArgumentTypeError(f"no checkpoint at {path}: give a .ckpt file, or a folder of save_pretrained")
    return path


def find_verb(name: str) -> Callable[[list[str]], None]:
    """What a verb does.

    Raises:
        ValueError: If there is no such verb.
    """
    known = {verb.name: verb for verb in VERBS}
    if not name:
        raise ValueError(f"a subcommand is missing, one of {', '.join(known)}: see vae-zoo --help.")
    if name not in known:
        what, there = ("option", ["--help", "--version"]) if name.startswith("-") else ("verb", list(known))
        raise ValueError(f"there is no {what} {name}{nearest_or_all(name, there)}")
    module, _, function = known[name].function.partition(":")
    found: Callable[[list[str]], None] = getattr(import_module(module), function)
    return found


def show_help() -> None:
    """Print what ``vae-zoo --help`` prints."""
    width = max(len(verb.name) for verb in VERBS)
    lines = [f"  {verb.name:{width}}   {verb.line}" for verb in VERBS]
    print(HELP.format(version=vae_zoo.__version__, verbs="\n".join(lines)))
