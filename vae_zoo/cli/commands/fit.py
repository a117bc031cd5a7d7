"""``fit``, ``validate``, ``test`` and ``predict``, with checks of the command line before torch is imported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from vae_zoo.cli.commands.list import classes_of
from vae_zoo.cli.errors import nearest, nearest_or_all
from vae_zoo.cli.help import show_help
from vae_zoo.cli.inspect.configs import packaged, packaged_configs, parsed, read_yaml
from vae_zoo.cli.inspect.options import CHOSEN, TRAINER, choices, groups, pairs, with_checkpoint
from vae_zoo.cli.inspect.sources import arguments
from vae_zoo.cli.run.wandb_flags import spelled_out
from vae_zoo.cli.terminal import greet
from vae_zoo.cli.verbs import RUNS
from vae_zoo.security.plugins import plugins
from vae_zoo.security.trust import ADDRESS
from vae_zoo.security.untrusted import check_file

MEANT = {
    "optimizer": "model.optimizer",
    "optim": "model.optimizer",
    "lr": "model.optimizer.lr",
    "learning_rate": "model.optimizer.lr",
    "weight_decay": "model.optimizer.weight_decay",
    "lr_scheduler": "model.scheduler",
    "epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "n_epochs": "trainer.max_epochs",
    "steps": "trainer.max_steps",
    "gpus": "trainer.devices",
    "gpu": "trainer.devices",
    "device": "trainer.accelerator",
    "seed": "seed_everything",
    "output_dir": "trainer.default_root_dir",
    "save_dir": "trainer.default_root_dir",
    "log_dir": "trainer.default_root_dir",
    "out": "trainer.default_root_dir",
    "workers": "data.num_workers",
    "dataset": "data",
    "arch": "model",
    "ckpt": "ckpt_path",
    "resume": "ckpt_path",
    "resume_from_checkpoint": "ckpt_path",
}
"""Common guesses of options, and their names here."""


def run(verb: str, args: Sequence[str]) -> None:
    """Run a verb of Lightning with the arguments after it."""
    args = spelled_out(packaged_configs(args))
    if verb == "predict":
        args = [re.sub(r"^--draw(?==|$)", "--predictions.draw", arg) for arg in args]
    if {"-h", "--help"} & set(args):
        if not (foreign := _foreign(args)):
            show_help(verb, args)
            return
        args = [foreign]
    elif "--help-all" in args:
        args = ["--help"]
    args = with_checkpoint(args)
    refuse(verb, args)
    if not any(arg.partition("=")[0] == "--print_config" or ".help" in arg.partition("=")[0] for arg in args):
        greet(verb, _what(args))
    from vae_zoo.cli.app import VAECLI

    VAECLI([verb, *args])


def _foreign(args: Sequence[str]) -> str:
    """Option that asks for the help of a user's own model or data, which must be imported; empty without one."""
    given = dict(pairs(args))
    paths = {group: given.get(f"--{group}", "") for group in CHOSEN}
    own = (f"--{group}.help={path}" for group, path in paths.items() if re.fullmatch(r"[A-Za-z_]\w*(\.\w+)+", path))
    return next(own, "")


def _what(args: Sequence[str]) -> str:
    """Model and data of a run, from the command line and its files: ``BetaVAE on Digits``, or its checkpoint."""
    named = [name for name in classes_of(args).values() if name]
    path = dict(pairs(args)).get("--ckpt_path", "")
    return ", from ".join(filter(None, (" on ".join(named), path)))


fit, validate, test, predict = (partial(run, verb) for verb in RUNS)


def refuse(verb: str, args: Sequence[str]) -> None:
    """Refuse mistakes that can be found from the command line and its files alone.

    Raises:
        ValueError: If an option or class is unknown, one is missing, or a config file is not one.
        FileNotFoundError: If there is no such checkpoint.
    """
    given = list(pairs(args))
    flags = {flag for flag, _ in given}
    if {"-h", "--help", "--"} & flags or any(flag.endswith(".help") for flag in flags):
        return
    known = groups(verb)
    if known["trainer"]:  # else this Lightning is arranged in another way
        for path in _configs(given):
            _check_config(path, known)
        _check_options(given, known)
    _check_keys(given)
    _check_addresses(given, known)
    for group in CHOSEN:
        _check_class(group, dict(given).get(f"--{group}", ""), given)
    _check_needs(verb, given)


def _configs(given: list[tuple[str, str]]) -> list[Path]:
    return [Path(value) for flag, value in given if flag in ("-c", "--config")]


def _check_config(path: Path, known: dict[str, list[str]]) -> None:
    for key, value in read_yaml(path).items():
        if (group := str(key).partition(".")[0].removesuffix("+")) not in known:
            raise ValueError(f"{path}: unknown key '{key}'{_meant(str(key), '') or nearest(str(key), known)}")
        if key == group:
            _check_kind(f"{path}: {group}", group, value, known)


def _check_kind(where: str, group: str, value: Any, known: dict[str, list[str]]) -> None:
    """Refuse a list or a number where a group of options or a class is expected."""
    if value is None or isinstance(value, (dict, str)) or not (known[group] or group in CHOSEN):
        return
    what = "keys and their values" if known[group] else "the name of a class, or class_path and init_args"
    raise ValueError(f"{where} takes {what}, got {value}.")


def _meant(key: str, hyphens: str) -> str:
    """Suggestion for a misplaced or misnamed option; empty if there is none."""
    name, dot, rest = key.partition(".")
    if name in MEANT:
        return f": it is {hyphens}{MEANT[name]}{dot}{rest}"
    classes = {"trainer": [TRAINER], **{group: list(choices(group).values()) for group in ("data", "model")}}
    for group, paths in classes.items():
        if any(argument.name == name for path in paths for argument in arguments(path)):
            return f": it is {hyphens}{group}.{key}"
    return ""


def _check_options(given: list[tuple[str, str]], known: dict[str, list[str]]) -> None:
    for group, key, flag, value in _split(given):
        if group not in known:
            near = _meant(flag.removeprefix("--"), "--") or nearest(flag, [f"--{name}" for name in known])
            raise ValueError(f"unknown option {flag}{near}")
        if not key and re.match(r"[-+.\d\[]", value) and not Path(value).exists():
            _check_kind(flag, group, parsed(value, flag), known)
        if key and known[group] and key not in known[group]:
            near = nearest(f"{group}.{key}", [f"{group}.{name}" for name in known[group]])
            raise ValueError(f"unknown option {flag}{near}")


def _check_keys(given: list[tuple[str, str]]) -> None:
    """Check keys of the model and the data once the command line has chosen a class of the zoo for them."""
    taken: dict[str, list[str]] = {}
    for group, key, _, value in _split(given):
        if group in ("c", "config"):
            taken = {}  # a file may choose another class
        elif group in CHOSEN and not key:
            taken[group] = [argument.name for argument in arguments(choices(group).get(value, ""))]
        elif taken.get(group) and key not in (*taken[group], "class_path", "init_args", "dict_kwargs"):
            raise ValueError(f"{group}: unknown key {key}{nearest_or_all(key, taken[group])}")


def _check_addresses(given: list[tuple[str, str]], known: dict[str, list[str]]) -> None:
    """Refuse addresses in place of a class, a group or a config file, without fetching anything."""
    for group, key, flag, value in _split(given):
        whole = not key and (group in (*CHOSEN, "c", "config") or known.get(group))
        if whole and ADDRESS.match(value):
            raise ValueError(f"{flag}: {value} is an address, and nothing is fetched: download it first.")


def _split(given: list[tuple[str, str]]) -> Iterator[tuple[str, str, str, str]]:
    """Group, key in the group, option and value: ``trainer``, ``max_epochs``, ``--trainer.max_epochs`` and ``5``."""
    for flag, value in given:
        group, _, rest = flag.lstrip("-").partition(".")
        if flag.startswith("--") or flag == "-c":
            yield group, rest.partition(".")[0].removesuffix("+"), flag, value


def _check_class(group: str, name: str, given: list[tuple[str, str]]) -> None:
    if not name.isidentifier() or name in (known := choices(group)) or Path(name).exists() or _may_import(given):
        return
    near = nearest(name, known) or "; vae-zoo list shows all; a class of your own is my_file.MyClass."
    raise ValueError(f"{group}: there is no class {name}{near}")


def _may_import(given: list[tuple[str, str]]) -> bool:
    """Whether something on the command line may import foreign classes, which then have short names."""
    ours = {str(path) for path in packaged().values()}
    named = {value for flag, value in given if value not in ours or flag not in ("-c", "--config")}
    files = any(flag in ("-c", "--config", "--ckpt_path") and value in named for flag, value in given)
    return files or any(re.search(r"[A-Za-z_]\w*\.[A-Za-z_]", v) for v in named) or bool(plugins())


def _check_needs(verb: str, given: list[tuple[str, str]]) -> None:
    flags, path = {flag for flag, _ in given}, dict(given).get("--ckpt_path")
    if verb != "fit" and path is None:
        raise ValueError(f"{verb} needs the weights of a trained model: give --ckpt_path PATH.")
    split = dict(given).get("--split", "all")
    if verb == "predict" and split not in (known := ("all", "train", "val", "test")):
        raise ValueError(f"--split must be one of {', '.join(known)}, got {split}.")
    if path == "best":
        raise ValueError("--ckpt_path best means something to a Trainer that has fitted: give a path, or last.")
    if path and path != "last":
        check_file(path)
    if not flags & {"-c", "--config", "--ckpt_path", "--print_config"}:
        groups_given = {flag.removeprefix("--").partition(".")[0] for flag in flags}
        if missing := [f"{verb}.{group}" for group in sorted(CHOSEN) if group not in groups_given]:
            raise ValueError(f"missing: {', '.join(missing)}: give --config NAME, or --model MODEL and --data DATA.")
