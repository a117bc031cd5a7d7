"""What is wrong with a sweep of Weights & Biases, as far as its file alone shows it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from vae_zoo.cli.errors import check_known, nearest
from vae_zoo.cli.inspect.sources import written_keys
from vae_zoo.cli.sweeps.command import check_command

KEYS = ("program", "command", "method", "metric", "parameters", "early_terminate", "run_cap", "name", "description")
RARE_KEYS = ("project", "entity", "controller", "settings", "kind", "apiVersion")
METHODS = ("grid", "random", "bayes")
PARAMETER = ("value", "values", "min", "max", "distribution", "mu", "sigma", "q", "a", "b", "probabilities")
MOST = 64
"""Values of one parameter that are all looked at where they are only counted, by min and max; of more, three are."""


def check_rules(sweep: dict[str, Any]) -> None:
    """Raise the first thing that would make every run of a sweep fail, or mean something else than it says.

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
    check_command(sweep)
    for name, parameter in parameters.items():
        if "${args_json_file}" not in sweep["command"] and None in points(parameter):
            raise ValueError(
                f"{name}: null arrives as the word None through ${{args}}: "
                'in the command write --config, "${args_json_file}" instead.'
            )
    _check_goal(sweep)


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
    """Names of what the model at a path logs in each stage, as its methods write them."""
    return list(dict.fromkeys(["loss", *written_keys(path, ("losses", "curves", "objective"))]))


def count(parameter: dict[str, Any]) -> int:
    """Number of values of a parameter that is listed or counted; 0 of a continuous one."""
    if "value" in parameter:
        return 1
    if "values" in parameter:
        return len(parameter["values"])
    kind = _kind(parameter)
    if "min" not in parameter or kind not in ("int_uniform", "q_uniform"):
        return 0
    return max(0, int((parameter["max"] - parameter["min"]) / parameter.get("q", 1)) + (kind == "int_uniform"))


def value_at(parameter: dict[str, Any], n: int) -> Any:
    """The value of that number of a parameter that is listed or counted."""
    if "value" in parameter:
        return parameter["value"]
    return parameter["values"][n] if "values" in parameter else parameter["min"] + n * parameter.get("q", 1)


def place(index: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """Of each parameter the number of its value, in the run of that index of a grid."""
    found = []
    for size in reversed(sizes):
        index, n = divmod(index, size)
        found.append(n)
    return tuple(reversed(found))


def points(parameter: dict[str, Any]) -> list[Any]:
    """The values of a parameter that is listed, or counted and has few; else the lowest, the middle and the highest."""
    if num := count(parameter):
        few = "min" not in parameter or num <= MOST
        return [value_at(parameter, n) for n in (range(num) if few else (0, num // 2, num - 1))]
    kind = _kind(parameter)
    if "min" in parameter:
        low, high = parameter["min"], parameter["max"]
        if kind.endswith("log_uniform"):
            found = [math.exp(low), math.exp((low + high) / 2), math.exp(high)]
        else:
            found = [low, math.sqrt(low * high) if "log" in kind else (low + high) / 2, high]
    else:
        mu, sigma = parameter.get("mu", 0.0), parameter.get("sigma", 1.0)
        found = [mu - 2 * sigma, mu, mu + 2 * sigma]
        if "log" in kind:
            found = [math.exp(value) for value in found]
        elif "beta" in kind:
            found = [0.0, 0.5, 1.0]
    q = parameter.get("q") if kind.startswith("q_") else None
    return [round(value / q) * q for value in found] if q else [float(value) for value in found]


def _kind(parameter: dict[str, Any]) -> str:
    default = "int_uniform" if isinstance(parameter.get("min"), int) else "uniform"
    return str(parameter.get("distribution", default))


def _check_parameter(name: str, parameter: Any, method: str) -> None:
    if not isinstance(parameter, dict):
        raise ValueError(f"{name} needs values: write {name}: {{value: {parameter}}}, or a list under values.")
    if "parameters" in parameter:
        inner = next(iter(parameter["parameters"] or {"key": ""}))
        raise ValueError(f"{name}: nested parameters lock the key for the run: write {name}.{inner} with a dot.")
    for key in parameter:
        check_known(f"{name}: key", str(key), PARAMETER)
    if name.endswith(("class_path", "init_args")):
        raise ValueError(f"{name}: choose a class by {name.rpartition('.')[0]}, and put it before its arguments.")
    if "values" in parameter and not (isinstance(parameter["values"], list) and parameter["values"]):
        raise ValueError(f"{name}: values must be a list with something in it, got {parameter['values']}.")
    if not {"value", "values", "distribution"} & set(parameter) and not {"min", "max"} <= set(parameter):
        raise ValueError(f"{name} needs a value, values, or min and max.")
    if {"min", "max"} & set(parameter):
        _check_bounds(name, parameter)
    if method == "grid" and not {"value", "values"} & set(parameter):
        kind = parameter.get("distribution", "uniform" if isinstance(parameter["min"], float) else "int_uniform")
        if kind not in ("int_uniform", "q_uniform"):
            raise ValueError(f"{name}: a grid needs values, or min and max that are whole numbers.")


def _check_bounds(name: str, parameter: dict[str, Any]) -> None:
    low, high = parameter.get("min"), parameter.get("max")
    for key, value in (("min", low), ("max", high), ("q", parameter.get("q", 1))):
        if isinstance(value, str):  # YAML takes 1e-3 for text
            raise ValueError(f"{name}: {key} is the text {value!r}, not a number: write {_decimal(value)}.")
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            raise ValueError(f"{name}: {key} must be a number, got {value}.")
    assert isinstance(low, (int, float))
    assert isinstance(high, (int, float))
    if low >= high:
        raise ValueError(f"{name}: min must be less than max, got {low} and {high}.")
    if "distribution" not in parameter and type(low) is not type(high):
        raise ValueError(f"{name}: min and max must both be whole numbers or both have a point, got {low} and {high}.")
    kind = str(parameter.get("distribution", ""))
    if "log" in kind and kind.endswith("_values") and low <= 0:
        raise ValueError(f"{name}: min of {kind} must be above 0, got {low}.")


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


def _decimal(text: str) -> str:
    try:
        return f"{float(text):f}".rstrip("0")
    except ValueError:
        return "one"
