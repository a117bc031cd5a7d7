"""``--help`` of Lightning's verbs: common options, and the options of the named classes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from textwrap import fill, indent

from vae_zoo.cli.commands.list import classes_of
from vae_zoo.cli.inspect.options import CALLBACKS, LINKED, choices
from vae_zoo.cli.inspect.sources import arguments, find
from vae_zoo.cli.terminal import width
from vae_zoo.cli.verbs import VERBS
from vae_zoo.system.docstrings import first_line

NEEDS = {"fit": "--model MODEL --data DATA"}
OFTEN = (
    ("--model NAME", "a model, such as BetaVAE: vae-zoo list models"),
    ("--data NAME", "data, such as Digits: vae-zoo list data"),
    ("--config NAME", "one of vae-zoo list configs, or a file"),
    ("--ckpt_path PATH", "a checkpoint, or last: of the newest fit"),
    ("--model.latent_dim N", "and other arguments of the model"),
    ("--model.optimizer NAME", "and then --model.optimizer.lr 3e-4"),
    ("--data.batch_size N", "and other arguments of the data"),
    ("--trainer.max_epochs N", "length of the fit (50)"),
    ("--trainer.accelerator NAME", "cpu, gpu or auto; --trainer.devices N"),
    ("--trainer.default_root_dir DIR", "where runs are kept (results)"),
    ("--seed_everything N", "seed (0)"),
    ("--wandb", "log to Weights & Biases"),
    ("--trust PACKAGE", "whose classes files may name"),
    ("--print_config", "print the configuration and stop"),
)
OWN = {
    "predict": (
        ("--split NAME", "all, train, val or test (new data: all)"),
        ("--draw NAME", "mean or sample of p(x|z)"),
        ("--predictions.OPTION", "what is written: vae-zoo show PredictionWriter"),
    ),
}
"""Options of single verbs."""

MORE = """more:
  vae-zoo show NAME        a model, data set, network or callback in full
  vae-zoo {verb} --model BetaVAE --data Digits --help
                           the options of these two
  vae-zoo {verb} --help-all
                           all options, including those of the Trainer"""


def show_help(verb: str, args: Sequence[str]) -> None:
    """Print the help of a verb, with the options of the model and data that the command line names.

    Args:
        verb: The verb.
        args: Arguments after the verb.
    """
    named = {group: name for group, name in classes_of(args).items() if name in choices(group)}
    if named:
        for group, name in named.items():
            _show_class(group, name)
        print(f"All other options: vae-zoo {verb} --help, and vae-zoo {verb} --help-all")
        return
    line = next(v.line for v in VERBS if v.name == verb)
    needs = NEEDS.get(verb, "--ckpt_path PATH")
    print(
        f"usage: vae-zoo {verb} {needs} [options]\n       vae-zoo {verb} --config NAME [options]\n\n{line}\n\noptions:"
    )
    margin = max(len(option) for option, _ in OFTEN) + 4
    for option, text in (*OFTEN, *OWN.get(verb, ())):
        print(_wrapped(f"  {option:{margin - 2}}{text}", margin))
    print("\ncallbacks, each with options such as --samples.every_n_epochs 5:")
    print(_wrapped(f"  {', '.join(CALLBACKS)}", 2), end="\n\n")
    print(MORE.format(verb=verb))


def _show_class(group: str, name: str) -> None:
    path = choices(group)[name]
    source = find(path)
    print(_wrapped(f"{name}: {first_line(source.doc) if source else ''}. In full: vae-zoo show {name}", 4))
    taken = [argument for argument in arguments(path) if group != "model" or argument.name not in LINKED]
    for owner, theirs in groupby(taken, lambda argument: argument.owner):
        print(f"\noptions{'' if owner == name else f' from {owner}'}:")
        for argument in theirs:
            default = ", required" if argument.default is None else f" = {argument.default}"
            print(_wrapped(f"  --{group}.{argument.name}  {argument.annotation}{default}", 6))
            if argument.line:
                print(indent(_wrapped(argument.line, 0, 6), " " * 6))
    print()


def _wrapped(text: str, margin: int, less: int = 0) -> str:
    columns = width() or 80
    return fill(text, max(40, min(columns, 120) - less), subsequent_indent=" " * margin, break_long_words=False)
