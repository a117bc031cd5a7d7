"""Parameters of the runs of a sweep, drawn without a server."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from vae_zoo.cli.sweeps.rules import count, place, value_at

MOST = 10_000
"""Runs of a sweep, at most."""


def draws(sweep: dict[str, Any], num: int | None, seed: int) -> list[dict[str, Any]]:
    """All runs of a grid in its order, or random ones of any other sweep; more of them begin with the same ones.

    Args:
        sweep: What the file of the sweep holds.
        num: Runs at most; if not given, all of a grid, or ``run_cap`` of others.
        seed: Seed of random runs.

    Raises:
        ValueError: If nothing says how many random runs there are, or there are more than :data:`MOST`.
    """
    parameters = {str(name): parameter for name, parameter in sweep["parameters"].items()}
    num = sweep.get("run_cap") if num is None else num
    if sweep["method"] == "grid":
        sizes = [count(parameter) for parameter in parameters.values()]
        total = math.prod(sizes)
        num = total if num is None else min(num, total)
        _check_num(num, f"the grid has {total:,} runs")
        places = (place(index, sizes) for index in range(num))
        return [{name: value_at(parameters[name], n) for name, n in zip(parameters, at, strict=True)} for at in places]
    if num is None:
        raise ValueError(f"a {sweep['method']} search has no end of its own: give --num, or run_cap in its file.")
    _check_num(num, f"{num:,} runs were asked for")
    random = Random(seed)
    return [{name: draw(parameter, random) for name, parameter in parameters.items()} for _ in range(num)]


def _check_num(num: int, said: str) -> None:
    if num > MOST:
        raise ValueError(f"{said}, which no machine finishes: give --num, at most {MOST:,}.")


def draw(parameter: dict[str, Any], random: Random) -> Any:
    """One value of a parameter.

    Args:
        parameter: Its values or its distribution, as in the file of a sweep.
        random: Source of the draw.

    Raises:
        ValueError: If its distribution is none that is drawn here.
    """
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return random.choices(parameter["values"], weights=parameter.get("probabilities"))[0]
    low, high = parameter.get("min"), parameter.get("max")
    given = parameter.get("distribution", "int_uniform" if isinstance(low, int) else "uniform")
    kind, step = given.removeprefix("q_"), parameter.get("q", 1) if given.startswith("q_") else None
    if kind == "int_uniform":
        return random.randint(low, high)  # type: ignore[arg-type]
    value = _value(kind, parameter, random)
    if value is None:
        raise ValueError(f"distribution {given} is not drawn here: use uniform, log_uniform_values or normal.")
    return value if step is None else round(value / step) * step


def _value(kind: str, parameter: dict[str, Any], random: Random) -> float | None:
    low, high = parameter.get("min", 0.0), parameter.get("max", 1.0)
    mu, sigma = parameter.get("mu", 0.0), parameter.get("sigma", 1.0)
    if kind == "uniform":
        return random.uniform(low, high)
    if kind == "log_uniform":
        return math.exp(random.uniform(low, high))
    if kind == "log_uniform_values":
        return math.exp(random.uniform(math.log(low), math.log(high)))
    if kind == "normal":
        return random.gauss(mu, sigma)
    if kind == "log_normal":
        return math.exp(random.gauss(mu, sigma))
    if kind == "beta":
        return random.betavariate(parameter.get("a", 1.0), parameter.get("b", 1.0))
    return None
