"""Checks of a sweep file of Weights & Biases, and the commands of its runs."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from vae_zoo.cli.errors import check_known, nearest
from vae_zoo.cli.inspect.configs import packaged_configs
from vae_zoo.cli.inspect.sources import arguments, public, written_keys
from vae_zoo.cli.named_packages import split
from vae_zoo.cli.sweeps.draws import DISTRIBUTIONS, kind_of, points
from vae_zoo.system.docstrings import snake_case
from vae_zoo.system.extras import require

KEYS = ("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap", "name", "description")
RARE_KEYS = ("project", "entity", "controller", "settings", "kind", "apiVersion")
METHODS = ("grid", "random", "bayes")
NUMBERS = {"min": -math.inf, "max": -math.inf, "mu": -math.inf, "sigma": 0, "q": 0, "a": 0, "b": 0}
STOPPING = {"min_iter": 0, "max_iter": 0, "s": 0, "eta": 1}
"""Keys of a parameter and of early_terminate that are numbers, and what each must be above."""

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


def check_rules(sweep: dict[str, Any]) -> None:
    """Refuse a sweep file with which every run would fail, or would do something else than the file says.

    Raises:
        ValueError: If there is one.
    """
    for key in sweep:
        check_known("key", str(key), (*KEYS, *RARE_KEYS))
    if "method" not in sweep:
        raise ValueError(f"method is missing: one of {', '.join(METHODS)}.")
    check_known("method", str(sweep["method"]), METHODS)
    parameters = sweep.get("parameters")
    if not isinstance(parameters, dict) or not parameters:
        raise ValueError("parameters are missing: for instance parameters: {model.beta: {values: [1, 4]}}.")
    for name, parameter in parameters.items():
        _check_parameter(str(name), parameter, sweep["method"])
    _check_order(list(parameters))
    _check_command(sweep)
    for name, parameter in parameters.items():
        if "${args_json_file}" not in sweep["command"] and None in points(parameter):
            raise ValueError(
                f"{name}: null arrives as the word None through ${{args}}: "
                'in the command write --config, "${args_json_file}" instead.'
            )
    _check_goal(sweep)
    if "early_terminate" in sweep:
        _check_stopping(sweep["early_terminate"])
    _check_number("run_cap", sweep.get("run_cap", 1), 0)


def check_metric(metric: dict[str, Any], cls: Any, more: Iterable[str] = (), *, ours: bool) -> None:
    """Raise if a metric is not one that a model logs, or is optimised the wrong way round.

    Args:
        metric: Name and goal.
        cls: Class of the model.
        more: Names of what callbacks log.
        ours: Whether nothing but the zoo and Lightning logs anything, so that the names are known.

    Raises:
        ValueError: If so.
    """
    name, goal = metric["name"], metric.get("goal", "minimize")
    words = logged(f"{cls.__module__}.{cls.__name__}")
    known = [cls.monitor, *(f"{stage}/{word}" for stage in ("val", "train") for word in words), *more]
    stem = name.rstrip("0123456789").removesuffix("_") if name[-1:].isdigit() else name  # of a layer, val/kl_2
    if ours and stem not in known:
        near = nearest(name, known) or nearest(f"val/{name.rpartition('/')[2]}", known) or f": use {cls.monitor}."
        raise ValueError(f"metric: {cls.__name__} logs no {name}{near}")
    wanted = {"elbo": "maximize", "loss": "minimize"}.get(name.rpartition("/")[2], goal)
    if goal != wanted:
        given = f"goal: {goal}" if "goal" in metric else "no goal, which means minimize"
        raise ValueError(f"metric: {name} has {given}: write goal: {wanted}.")


def logged(path: str) -> list[str]:
    """Names of the metrics that the model at a path logs in each stage, read from its methods."""
    found = [
        "loss",
        *written_keys(path, ("losses", "terms", "judged", "_told", "curves", "objective", "elbo", "divergence")),
    ]
    if any(argument.name == "penalties" for argument in arguments(path)):
        names = [snake_case(name) for name in public("vae_zoo.penalties")]
        found += [*names, *(f"{name}_loss" for name in names)]
    return list(dict.fromkeys(found))


def expand(sweep: dict[str, Any], run: dict[str, Any], json_file: str = "config.json") -> list[str]:
    """The command of one run, as wandb's agent makes it.

    Args:
        sweep: What the file of the sweep holds.
        run: Parameters and their values.
        json_file: Where the agent writes them for ``${args_json_file}``.

    Raises:
        ImportError: If wandb is not installed.
    """
    utils = require("wandb.sdk.launch.sweeps.utils", "wandb", "a sweep")
    made = utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in run.items()}})
    made |= {"env": ["/usr/bin/env"], "program": [sweep.get("program")], "args_json_file": [json_file]}
    words = map(str, utils.create_sweep_command(list(sweep["command"])))
    filled = [made.get(word[2:-1]) or [] if word.startswith("${") and word.endswith("}") else [word] for word in words]
    return [str(word) for part in filled for word in part]


def arguments_of(command: Sequence[str], sweep: dict[str, Any]) -> list[str]:
    """Arguments of ``fit`` in a command, with packaged configurations replaced by their paths.

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


def _check_command(sweep: dict[str, Any]) -> None:
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


def _check_parameter(name: str, parameter: Any, method: str) -> None:
    if not isinstance(parameter, dict):
        raise ValueError(f"{name} needs values: write {name}: {{value: {parameter}}}, or a list under values.")
    if "parameters" in parameter:
        inner = next(iter(parameter["parameters"] or {"key": ""}))
        raise ValueError(f"{name}: nested parameters lock the key for the run: write {name}.{inner} with a dot.")
    for key in parameter:
        check_known(f"{name}: key", str(key), ("value", "values", "probabilities", "distribution", *NUMBERS))
        if key in NUMBERS:
            _check_number(f"{name}: {key}", parameter[key], NUMBERS[key])
    if name.endswith(("class_path", "init_args")):
        raise ValueError(f"{name}: choose a class by {name.rpartition('.')[0]}, and put it before its arguments.")
    if "values" in parameter and not (isinstance(parameter["values"], list) and parameter["values"]):
        raise ValueError(f"{name}: values must be a list with something in it, got {parameter['values']}.")
    listed, kind = {"value", "values"} & set(parameter), kind_of(parameter)
    if not listed:
        check_known(f"{name}: distribution", kind, DISTRIBUTIONS)
        if not kind.endswith(("normal", "beta")) and not {"min", "max"} <= set(parameter):
            raise ValueError(f"{name} needs a value, values, or min and max.")
    if {"min", "max"} <= set(parameter):
        _check_bounds(name, parameter["min"], parameter["max"], parameter.get("distribution", ""))
    if method == "grid" and not listed and kind not in ("int_uniform", "q_uniform"):
        raise ValueError(f"{name}: a grid needs values, or min and max that are whole numbers.")


def _check_bounds(name: str, low: float, high: float, kind: str) -> None:
    if low >= high:
        raise ValueError(f"{name}: min must be less than max, got {low} and {high}.")
    if not kind and type(low) is not type(high):
        raise ValueError(f"{name}: min and max must both be whole numbers or both have a point, got {low} and {high}.")
    if "log" in kind and kind.endswith("_values") and low <= 0:
        raise ValueError(f"{name}: min of {kind} must be above 0, got {low}.")


def _check_number(what: str, value: Any, bound: float) -> None:
    if isinstance(value, str):  # YAML takes 1e-3 for text
        from numpy import format_float_positional

        number = re.fullmatch(r"[-+]?[\d.]+e[-+]?\d+", value)
        write = format_float_positional(float(value), trim="0") if number else "one"
        raise ValueError(f"{what} is the text {value!r}, not a number: write {write}.")
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{what} must be a number, got {value}.")
    if not value > bound:
        raise ValueError(f"{what} must be above {bound}, got {value}.")


def _check_order(names: list[str]) -> None:
    for place, name in enumerate(names):
        if before := [other for other in names[:place] if other.startswith(f"{name}.")]:
            raise ValueError(f"{name} must stand before {before[0]}: the class before its arguments.")


def _check_goal(sweep: dict[str, Any]) -> None:
    metric = sweep.get("metric")
    if metric is None:
        if sweep["method"] == "bayes" or "early_terminate" in sweep:
            raise ValueError("metric is missing: write metric: {name: val/elbo, goal: maximize}.")
        return
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str) or not metric["name"]:
        raise ValueError("metric has no name: write metric: {name: val/elbo, goal: maximize}.")
    for key in metric:
        check_known("metric: key", str(key), ("name", "goal", "target", "impute", "impute_while_running"))
    check_known("metric: goal", str(metric.get("goal", "minimize")), ("maximize", "minimize"))


def _check_stopping(stopping: Any) -> None:
    if not isinstance(stopping, dict) or stopping.get("type") != "hyperband":
        raise ValueError("early_terminate needs a type: write early_terminate: {type: hyperband, min_iter: 3}.")
    for key, value in stopping.items():
        check_known("early_terminate: key", str(key), ("type", *STOPPING, "strict"))
        if key in STOPPING:
            _check_number(f"early_terminate: {key}", value, STOPPING[key])
    if "min_iter" not in stopping and not {"max_iter", "s"} <= set(stopping):
        raise ValueError("early_terminate needs min_iter, or max_iter and s.")
