"""The command of a sweep of Weights & Biases: what may stand in it, and what an agent makes of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from vae_zoo.cli.errors import check_known
from vae_zoo.cli.inspect.configs import packaged_configs
from vae_zoo.cli.named_packages import split

COMMAND = 'command: ["${env}", "${program}", fit, --config, NAME, --config, wandb, "${args}"]'
FORMS = ("${args}", "${args_no_equals}", "${args_json_file}")
"""How parameters reach the command: ``--a=1``, ``--a 1``, or the path of a file."""

BROKEN = {
    "${interpreter}": "runs python vae-zoo, and there is no such script",
    "${args_no_boolean_flags}": "leaves out what is false, and gives what is true no value",
    "${args_no_hyphens}": "gives model.beta=2 without its two hyphens",
    "${args_append_hydra}": "is for another library",
    "${args_override_hydra}": "is for another library",
    "${args_json}": "gives the text of a file where its path is needed",
}


def check_command(sweep: dict[str, Any]) -> None:
    """Refuse the command of a sweep whose runs would not start, or would not get their parameters.

    Raises:
        ValueError: If it is one.
    """
    command = sweep.get("command")
    if not command:
        raise ValueError(f"command is missing, and the default one runs python vae-zoo, which fails: write {COMMAND}")
    if not isinstance(command, list):
        raise ValueError(f"command must be a list, a word an entry: write {COMMAND}")
    words = [str(word) for word in command]
    for word in words:
        if word in BROKEN:
            use = "leave it out" if word == "${interpreter}" else 'use "${args}"'
            raise ValueError(f"command: {word} {BROKEN[word]}: {use}.")
        if word.startswith("${") and not word.startswith("${envvar:"):
            check_known("command: word", word, ("${env}", "${program}", *FORMS))
    if "${program}" in words and not sweep.get("program"):
        raise ValueError("program is missing: write program: vae-zoo.")
    if not set(FORMS) & set(words):
        raise ValueError('command: the parameters reach no run: put "${args}" at its end.')
    for place, word in enumerate(words):
        if word == "${args_json_file}" and words[place - 1] not in ("-c", "--config"):
            raise ValueError('command: "${args_json_file}" needs --config before it, as an entry of its own.')
    for name in sweep["parameters"] if "${args_json_file}" in words else ():
        if any(other.startswith(f"{name}.") for other in sweep["parameters"]):  # one file holds no key twice
            raise ValueError(
                f'{name} and its arguments do not fit into one file: use "${{args}}", or --{name} before it.'
            )


def expand(sweep: dict[str, Any], run: dict[str, Any], json_file: str = "config.json") -> list[str]:
    """The command of one run, as wandb's agent makes it.

    Args:
        sweep: What the file of the sweep holds.
        run: Parameters and their values.
        json_file: Where the agent writes them for ``${args_json_file}``.

    Raises:
        ImportError: If wandb is not installed.
    """
    try:
        from wandb.sdk.launch.sweeps import utils
    except ModuleNotFoundError as error:
        if error.name != "wandb":
            raise
        raise ImportError("sweeps need wandb, which is not installed: pip install 'vae_zoo[wandb]'.") from None

    made = utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in run.items()}})
    made |= {"env": ["/usr/bin/env"], "program": [sweep.get("program")], "args_json_file": [json_file]}
    words = map(str, utils.create_sweep_command(list(sweep["command"])))
    filled = [made.get(word[2:-1]) or [] if word.startswith("${") and word.endswith("}") else [word] for word in words]
    return [str(word) for part in filled for word in part]


def expand_all(sweep: dict[str, Any], runs: list[dict[str, Any]], folder: Path) -> Iterator[list[str]]:
    """What follows ``fit`` in the command of each run, with the files that the command names."""
    for n, run in enumerate(runs):
        file = folder / f"{n}.json"
        file.write_text(json.dumps(run), encoding="utf-8")
        yield arguments_of(expand(sweep, run, str(file)), sweep)


def arguments_of(command: Sequence[str], sweep: dict[str, Any]) -> list[str]:
    """What follows ``fit`` in a command, with the names of packaged configurations as their paths.

    Raises:
        ValueError: If the command is not one of vae-zoo, or another verb of it.
    """
    words = [Path(word).name for word in command]
    place = words.index("vae-zoo") if "vae-zoo" in words else -1
    if place < 0 and "vae_zoo" in words and words[words.index("vae_zoo") - 1] == "-m":
        place = words.index("vae_zoo")
    if place < 0:
        raise ValueError(f"command: it runs {sweep.get('program') or command[0]}: write program: vae-zoo.")
    if words[place - 1].startswith("python") and words[place] == "vae-zoo":
        raise ValueError("command: there is no script for python vae-zoo: leave python out.")
    if words[place + 1 : place + 2] != ["fit"]:
        raise ValueError('command: fit must follow "${program}".')
    return [word for word in packaged_configs(split(command[place + 2 :])[0]) if word]
