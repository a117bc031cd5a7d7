"""``vae-zoo sweep-table``: what the runs in a folder had for parameters, and what came out."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_zoo.cli.errors import nearest
from vae_zoo.cli.inspect.configs import read_yaml
from vae_zoo.cli.terminal import console
from vae_zoo.cli.verbs import VerbParser
from vae_zoo.system.writing import replacing

DESCRIPTION = """Show what fits had for parameters, and what came out: all fits below a folder, whether sweep-run, an
agent of W&B or nobody chose them. Beside the table, results.csv and parallel.png are written into the folder."""
ASIDE = re.compile(r"(?:trainer\.(?:logger|default_root_dir|enable_)|checkpoint|last|ckpt_path)\b")
"""Options that make no difference to what is learned."""


class Row(NamedTuple):
    """One run.

    Args:
        run: Its folder.
        parameters: What it was given.
        value: The metric at its end; NaN if it has none.
    """

    run: str
    parameters: dict[str, Any]
    value: float


def parser() -> VerbParser:
    """The options of the verb."""
    made = VerbParser("sweep-table", DESCRIPTION)
    made.add_argument("folder", metavar="FOLDER", help="where the runs are, such as results")
    made.add_argument("--metric", default="val/elbo", help="what to sort by (val/elbo)")
    made.add_argument("--minimize", action="store_true", help="the least is the best")
    return made


def sweep_table(args: list[str]) -> None:
    """Run ``vae-zoo sweep-table FOLDER``.

    Raises:
        ValueError: If there is no run with that metric.
    """
    options = parser().parse_args(args)
    folder = Path(options.folder)
    report(folder, collect(folder, options.metric), options.metric, maximize=not options.minimize)


def collect(folder: Path, metric: str) -> list[Row]:
    """The runs below a folder: those of ``sweep-run`` with what it gave them, else all fits with what differs.

    Raises:
        ValueError: If there is none, or none with such a metric.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}.")
    if given := sorted(folder.glob("*/run.json"), key=lambda path: (len(path.parent.name), path)):
        runs = [(path.parent, json.loads(path.read_text(encoding="utf-8"))["parameters"]) for path in given]
    else:
        found = [path.parent for path in sorted(folder.rglob("config.yaml")) if (path.parent / "metrics.csv").is_file()]
        runs = list(zip(found, differing([flat(read_yaml(path / "config.yaml")) for path in found]), strict=True))
    rows = [Row(str(path.relative_to(folder)), parameters, last(path, metric)) for path, parameters in runs]
    if not rows:
        raise ValueError(f"there is no run with a config.yaml and a metrics.csv below {folder}.")
    if all(math.isnan(row.value) for row in rows):
        names = {name for path, _ in runs for file in _files(path) for name in _columns(file)}
        raise ValueError(f"no run below {folder} has {metric}{nearest(metric, names)}")
    return rows


def last(folder: Path, metric: str) -> float:
    """The last value of a metric in the files of a run, NaN if there is none: what Weights & Biases goes by, too."""
    return next(reversed(history(folder, metric)), math.nan)


def history(folder: Path, metric: str) -> list[float]:
    """Values of a metric in the files of a run, one a step; a row that is still being written is left out."""
    lines = [file.read_text(encoding="utf-8").splitlines(keepends=True) for file in _files(folder)]
    rows = [row for part in lines for row in csv.DictReader(line for line in part if line.endswith("\n"))]
    return list({row.get("step"): float(row[metric]) for row in rows if row.get(metric)}.values())


def flat(config: Any, name: str = "") -> dict[str, Any]:
    """A configuration by the names of its options: ``model`` is a class, ``model.beta`` its argument."""
    if not isinstance(config, dict):
        return {name: config}
    found: dict[str, Any] = {}
    if "class_path" in config:
        found[name] = str(config["class_path"]).rpartition(".")[2]
        config = config.get("init_args") or {}
    for key, value in config.items():
        found |= flat(value, f"{name}.{key}".lstrip("."))
    return found


def differing(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of each configuration that which is not the same in all of them that have it."""
    seen: dict[str, set[str]] = {}
    for config in configs:
        for name, value in config.items():
            seen.setdefault(name, set()).add(repr(value))
    names = [name for name, values in seen.items() if len(values) > 1 and not ASIDE.match(name)]
    return [{name: config[name] for name in names if name in config} for config in configs]


def report(folder: Path, rows: Iterable[Row], metric: str, *, maximize: bool) -> None:
    """Print the runs, the best first, and write ``results.csv`` and ``parallel.png`` into the folder."""
    from rich.table import Column, Table

    from vae_zoo.cli.sweeps.plots import draw

    best = sorted(rows, key=lambda row: (math.isnan(row.value), -row.value if maximize else row.value))
    names = list(dict.fromkeys(name for row in best for name in row.parameters))
    page = console(180, markup=False, highlight=False)
    table = Table(*(Column(name, overflow="fold") for name in ("run", *names)))
    table.add_column(metric, justify="right")
    if (path := folder / "results.csv").exists() and not path.read_text(encoding="utf-8").startswith("run,"):
        raise ValueError(f"{path} is no table of runs, and would be replaced: move it, or give the folder of the runs.")
    with replacing(folder / "results.csv") as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["run", *names, metric])
        for row in best:
            values = [row.parameters.get(name, "") for name in names]
            table.add_row(row.run, *map(formatted, values), "–" if math.isnan(row.value) else f"{row.value:.4f}")
            writer.writerow([row.run, *values, "" if math.isnan(row.value) else row.value])
    page.print(table)
    picture = draw(folder / "parallel.png", [row.parameters for row in best], [row.value for row in best], metric)
    for path in (folder / "results.csv", *([picture] if picture else [])):
        print(f"{path.name:20} {path}")


def formatted(value: Any) -> str:
    """A value as it is typed."""
    if isinstance(value, float):
        return f"{value:.4g}"
    return json.dumps(value) if isinstance(value, (list, dict, bool)) or value is None else str(value)


def _files(folder: Path) -> list[Path]:
    """Curves of a run, or of a folder of runs in which one that was stopped goes on."""
    return [folder / "metrics.csv"] if (folder / "metrics.csv").is_file() else sorted(folder.rglob("metrics.csv"))


def _columns(file: Path) -> list[str]:
    return next(csv.reader(file.read_text(encoding="utf-8").splitlines()), [])
