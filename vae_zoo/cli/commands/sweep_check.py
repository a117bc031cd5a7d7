"""``vae-zoo sweep-check``: whether the runs of a sweep of Weights & Biases would start, without starting one."""

from __future__ import annotations

import json
import math
import random
import re
import shlex
import warnings
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vae_zoo.cli.commands.fit import refuse
from vae_zoo.cli.errors import explain
from vae_zoo.cli.inspect.configs import find_sweep, read_yaml
from vae_zoo.cli.sweeps.draws import count, points
from vae_zoo.cli.sweeps.rules import arguments_of, check_metric, check_rules, expand
from vae_zoo.cli.terminal import console, greet
from vae_zoo.cli.verbs import VerbParser
from vae_zoo.security.trust import guard

DESCRIPTION = """Check a sweep of Weights & Biases without network or account: expand its runs as the agent does, and
parse each as vae-zoo would. Nothing is built or trained."""
OURS = ("vae_zoo.", "lightning.", "torch.")


def parser() -> VerbParser:
    """The options of the verb."""
    made = VerbParser("sweep-check", DESCRIPTION)
    made.add_argument("file", metavar="FILE", help="a sweep file, or the name of a packaged one")
    made.add_argument("--num", type=int, default=16, help="runs to parse where there are more (16)")
    return made


def sweep_check(args: list[str]) -> None:
    """Run ``vae-zoo sweep-check FILE``.

    Raises:
        ValueError: If a run would not start, or it does not log its metric.
        ImportError: If wandb is not installed.
    """
    options = parser().parse_args(args)
    path = find_sweep(options.file)
    sweep = read_yaml(path)
    greet("sweep-check", path.stem, piped=True)
    schema, runs = check(path, sweep, options.num)
    show(path, sweep, runs, schema=schema)


def check(path: Path, sweep: dict[str, Any], num: int, *, here: bool = False) -> tuple[bool, list[dict[str, Any]]]:
    """Whether a sweep went through wandb's own schema, and the runs of it that were parsed.

    Args:
        path: File of the sweep.
        sweep: What it holds.
        num: Runs to parse where there are more.
        here: Whether its runs are made here, where they need not log to Weights & Biases.

    Raises:
        ValueError: If a run would not start, or it does not log its metric.
    """
    with TemporaryDirectory() as folder:
        try:
            check_rules(sweep)
            schema = check_schema(sweep)
            runs = chosen_runs(sweep, num)
            given = []
            for n, run in enumerate(runs):
                file = Path(folder, f"{n}.json")
                file.write_text(json.dumps(run), encoding="utf-8")
                given.append(arguments_of(expand(sweep, run, str(file)), sweep))
                refuse("fit", given[-1])
            check_runs(given, sweep.get("metric"), here=here)
        except ValueError as error:
            message = re.sub(rf"{re.escape(folder)}/\d+\.json", "parameters", explain(str(error)))
            raise ValueError(f"{path}: {message}") from error
    return schema, runs


def check_schema(sweep: dict[str, Any]) -> bool:
    """Put a sweep through wandb's own schema, which is in its package ``sweeps``; False if that is not installed.

    Raises:
        ValueError: With what it says first.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of how that package is written
        try:
            from sweeps.config import schema_violations_from_proposed_config
        except ImportError:  # perhaps a folder of that name
            return False
    if violations := schema_violations_from_proposed_config(deepcopy(sweep)):
        raise ValueError(f"wandb's schema: {violations[0]}")
    return True


def chosen_runs(sweep: dict[str, Any], num: int) -> list[dict[str, Any]]:
    """Runs of a sweep to look at: all if there are few, else with every value once, and random ones.

    Values of a continuous parameter, and of one that counts many, are its lowest, its middle and its highest.
    """
    axes = {str(name): points(parameter) for name, parameter in sweep["parameters"].items()}
    sizes = [len(values) for values in axes.values()]
    total = math.prod(sizes)
    if total <= num:
        places = dict.fromkeys(product(*map(range, sizes)))
    else:
        places = dict.fromkeys(tuple(min(n, size - 1) for size in sizes) for n in range(max(sizes)))
        draw = random.Random(0)
        while len(places) < num:
            places[tuple(map(draw.randrange, sizes))] = None
    return [{name: values[n] for (name, values), n in zip(axes.items(), at, strict=True)} for at in places]


def check_runs(given: Iterable[Sequence[str]], metric: dict[str, Any] | None, *, here: bool = False) -> None:
    """Parse every run as the command would, and look for its metric and its logger.

    Args:
        given: What follows ``fit`` in the command of each run.
        metric: Name and goal.
        here: Whether the runs are made here, and need no logger of Weights & Biases.

    Raises:
        ValueError: If one would not start, or would not tell Weights & Biases of the metric.
    """
    from pydoc import locate

    from vae_zoo.cli.app import Parsing

    parser, seen = Parsing().parser, set()
    for line in given:
        with guard():
            config = parser.parse_args(["fit", *line]).fit
        model = config.model.class_path
        if metric and model not in seen:
            callbacks = {callback.class_path: callback for callback in config.trainer.callbacks or []}
            ours = all(path.startswith(OURS) for path in (model, *callbacks))
            check_metric(
                metric, locate(model), ["val/active_units", "val/informative_units", *_curves(callbacks)], ours=ours
            )
        seen.add(model)
        loggers = config.trainer.logger if isinstance(config.trainer.logger, list) else [config.trainer.logger]
        if not (here or any("Wandb" in getattr(logger, "class_path", "") for logger in loggers)):
            raise ValueError("command: its runs do not log to Weights & Biases: add --config, wandb.")


def show(path: Path, sweep: dict[str, Any], runs: list[dict[str, Any]], *, schema: bool) -> None:
    """Print what was found."""
    from rich.table import Column, Table

    page = console(180, markup=False, highlight=False)
    table = Table(*(Column(name, overflow="fold") for name in ("parameter", "values")))
    for name, parameter in sweep["parameters"].items():
        table.add_row(str(name), _said(parameter))
    page.print(table)
    total = math.prod(map(count, sweep["parameters"].values()))
    cap = f", at most {sweep['run_cap']}" if "run_cap" in sweep else ""
    number = f"{total:,} in the grid" if sweep["method"] == "grid" else f"by {sweep['method']} search"
    metric = sweep.get("metric") or {}
    said = f"{metric['name']}, {metric.get('goal', 'minimize')}" if metric else "none"
    first = expand(sweep, runs[0], "wandb/sweep-ID/config-ID.json")
    for name, text in (
        ("runs", f"{number}{cap}; {len(runs)} parsed"),
        ("metric", said),
        ("schema", "wandb's own" if schema else "of vae-zoo alone; wandb's own is in its package sweeps"),
        ("first run", shlex.join(first)),
        ("start it", f"wandb sweep {shlex.quote(str(path))}"),
    ):
        page.print(f"{name:10}{text}", soft_wrap=True)


def _curves(callbacks: dict[str, Any]) -> Iterator[str]:
    """Names of what callbacks of the zoo log at the validations of a fit."""
    from pydoc import locate

    for path, callback in callbacks.items():
        cls: Any = locate(path)
        if path.startswith("vae_zoo.") and hasattr(cls, "val_curves"):
            yield from cls(**callback.init_args.as_dict()).val_curves


def _said(parameter: dict[str, Any]) -> str:
    if {"value", "values"} & set(parameter):
        listed = points(parameter)
        return ", ".join("null" if value is None else str(value) for value in listed)
    if "min" in parameter:
        kind = parameter.get("distribution", "int_uniform" if isinstance(parameter["min"], int) else "uniform")
        return f"{parameter['min']} to {parameter['max']}, {kind}"
    return ", ".join(f"{key} {value}" for key, value in parameter.items())
