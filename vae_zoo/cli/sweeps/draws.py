"""Parameter values of the runs of a sweep, and local draws with Optuna."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate, product
from statistics import NormalDist
from typing import Any

from vae_zoo.system.extras import require

LOGS = ("log_normal", "log_uniform", "log_uniform_values", "inv_log_uniform", "inv_log_uniform_values")
DISTRIBUTIONS = ("int_uniform", *(f"{q}{name}" for q in ("", "q_") for name in ("uniform", "normal", "beta", *LOGS)))
"""Distributions of whole and of real numbers, and of multiples of q."""

FEW = 64
"""Values of one parameter that are all looked at where they are only counted, by min and max; of more, three are."""

MOST = 10_000
"""Runs of a sweep, at most."""


def draws(sweep: dict[str, Any], num: int | None, seed: int) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Optuna's trials and their parameters, one at a time: a grid in its order, other methods as the search draws.

    More runs begin with the same ones. The next one of a Bayesian search depends on what its study was told of those
    before; their share of a parameter's distribution is what is drawn, so that the search knows the distribution.

    Args:
        sweep: What the file of the sweep holds.
        num: Runs at most; if not given, all of a grid, or ``run_cap`` of others.
        seed: Seed of the draws.

    Raises:
        ValueError: If nothing says how many runs of a search there are, or there are more than :data:`MOST`.
        ImportError: If Optuna is not installed.
    """
    parameters = {str(name): parameter for name, parameter in sweep["parameters"].items()}
    grid = sweep["method"] == "grid"
    sizes = [count(parameter) for parameter in parameters.values()] if grid else []
    num = _number(sweep, num, math.prod(sizes))
    study = _study(sweep, seed)
    space = {} if grid else {name: _distribution(p) for name, p in parameters.items() if "value" not in p}
    places = product(*(range(min(size, num)) for size in sizes))  # an axis may count beyond all bounds
    for _ in range(num):
        trial = study.ask(space)
        drawn = dict(zip(parameters, next(places), strict=True)) if grid else trial.params
        yield trial, {name: _value(p, drawn.get(name, 0)) for name, p in parameters.items()}


def _value(parameter: dict[str, Any], drawn: int | float) -> Any:
    return value_at(parameter, drawn) if isinstance(drawn, int) else quantile(parameter, drawn)


def _number(sweep: dict[str, Any], num: int | None, total: int) -> int:
    num = sweep.get("run_cap") if num is None else num
    if sweep["method"] == "grid":
        num, said = total if num is None else min(num, total), f"the grid has {total:,} runs"
    elif num is None:
        raise ValueError(f"a {sweep['method']} search has no end of its own: give --num, or run_cap in its file.")
    else:
        said = f"{num:,} runs were asked for"
    if num > MOST:
        raise ValueError(f"{said}, which no machine finishes: give --num, at most {MOST:,}.")
    return num


def _study(sweep: dict[str, Any], seed: int) -> Any:
    optuna = require("optuna", "sweeps", "a sweep without a server")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    stop, pruner = sweep.get("early_terminate"), optuna.pruners.NopPruner()
    if stop:  # W&B's hyperband is successive halving of one bracket
        eta = max(2, round(stop.get("eta", 3)))
        least = stop.get("min_iter") or stop["max_iter"] / eta ** stop["s"]
        pruner = optuna.pruners.SuccessiveHalvingPruner(max(1, int(least)), eta)
    sampler = optuna.samplers.TPESampler if sweep["method"] == "bayes" else optuna.samplers.RandomSampler
    goal = (sweep.get("metric") or {}).get("goal", "minimize")
    return optuna.create_study(direction=goal, sampler=sampler(seed=seed), pruner=pruner)


def _distribution(parameter: dict[str, Any]) -> Any:
    """Optuna's distribution of a parameter: the index of its value in a list, or a quantile."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if "values" in parameter and "probabilities" not in parameter:
        return CategoricalDistribution(range(len(parameter["values"])))
    return FloatDistribution(1e-9, 1 - 1e-9)  # some distributions have no end


def quantile(parameter: dict[str, Any], share: float) -> Any:
    """Quantile of a parameter's distribution.

    Args:
        parameter: Its values or its distribution, as in the file of a sweep.
        share: The share, from 0 to 1.
    """
    if "values" in parameter:
        values = parameter["values"]
        total = list(accumulate(parameter.get("probabilities") or [1] * len(values)))
        return values[bisect(total[:-1], share * total[-1])]
    kind, low, high = kind_of(parameter), parameter.get("min", 0.0), parameter.get("max", 1.0)
    if kind == "int_uniform":
        return min(low + int(share * (high - low + 1)), high)
    name = kind.removeprefix("q_")
    if name == "beta":
        from scipy.stats import beta

        value = float(beta.ppf(share, parameter.get("a", 1.0), parameter.get("b", 1.0)))
    elif name.endswith("normal"):
        value = parameter.get("mu", 0.0) + parameter.get("sigma", 1.0) * NormalDist().inv_cdf(share)
    else:
        if name.endswith("_values"):
            low, high = math.log(low), math.log(high)
        elif name.startswith("inv_"):
            low, high = -high, -low
        value = low + share * (high - low)
    value = math.exp(value) if "log" in name else value
    step = parameter.get("q", 1)
    return round(value / step) * step if kind.startswith("q_") else value


def points(parameter: dict[str, Any]) -> list[Any]:
    """Values of a parameter to show: all of a list or a short range; else the lowest, the middle and the highest."""
    if num := count(parameter):
        few = "min" not in parameter or num <= FEW
        return [value_at(parameter, n) for n in (range(num) if few else (0, num // 2, num - 1))]
    far = NormalDist().cdf(2) if kind_of(parameter).endswith("normal") else 1.0
    return [quantile(parameter, share) for share in (1 - far, 0.5, far)]


def count(parameter: dict[str, Any]) -> int:
    """Number of values of a discrete parameter; 0 for a continuous one."""
    if "value" in parameter:
        return 1
    if "values" in parameter:
        return len(parameter["values"])
    kind = kind_of(parameter)
    if "min" not in parameter or kind not in ("int_uniform", "q_uniform"):
        return 0
    width = parameter["max"] - parameter["min"]
    return max(0, int(width) + 1 if kind == "int_uniform" else math.ceil(width / parameter.get("q", 1)))


def value_at(parameter: dict[str, Any], n: int) -> Any:
    """Value of a discrete parameter by its index."""
    if "value" in parameter:
        return parameter["value"]
    if "values" in parameter:
        return parameter["values"][n]
    return parameter["min"] + n * (parameter.get("q", 1) if kind_of(parameter) == "q_uniform" else 1)


def kind_of(parameter: dict[str, Any]) -> str:
    """Distribution of a parameter, by default the one that wandb infers from the type of min."""
    return str(parameter.get("distribution", "int_uniform" if isinstance(parameter.get("min"), int) else "uniform"))
