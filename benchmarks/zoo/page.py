"""The table of all variants in Markdown, and what a model's page says of it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.common import RESULTS
from benchmarks.zoo.plan import SETTINGS, variants
from benchmarks.zoo.table import read

FIGURES = RESULTS.parents[1] / "docs" / "figures" / "zoo"
CAPTION = (
    "samples, if it has a prior; test images above their reconstructions; and the latents that vary most, if they are "
    "continuous, one a row, from −2.5 to 2.5 or over the range that its space has"
)
PLAIN = "VAE"
"""The model that all others are compared with."""

Runs = dict[str, list[dict[str, str]]]


class Column(NamedTuple):
    """A column of the table.

    Args:
        key: Its name in the file.
        title: Its title.
        digits: Decimal places.
        better: 1 if more is better, -1 if less is, 0 if neither.
        words: Its name in a sentence; empty if models are not compared by it.
    """

    key: str
    title: str
    digits: int
    better: int = 0
    words: str = ""


NLL = Column("nll", "NLL", 2, -1, "NLL")
AIS = Column("ais_nll", "NLL (AIS)", 2, -1, "NLL by AIS")
BOUND = Column("elbo", "bound", 2, 1, "bound")
COLUMNS = (
    NLL,
    AIS,
    BOUND,
    Column("rate", "rate", 2),
    Column("bits_per_dim", "bits/dim", 3),
    Column("active_units", "active units", 0),
    Column("unexplained", "unexplained", 3, -1, "unexplained variance"),
    Column("fid", "FID", 1, -1, "FID"),
    Column("coverage", "coverage", 3, 1, "coverage"),
    Column("linear_probe", "linear probe", 3, 1, "linear probe"),
    Column("knn_probe", "k-NN probe", 3, 1, "k-NN probe"),
    Column("mig", "MIG", 3, 1, "MIG"),
    Column("parameters", "parameters", 0),
    Column("fit_cpu_s", "fit, CPU s", 1),
    Column("fit_wall_s", "fit, wall s", 1),
    Column("peak_mib", "peak MiB", 0),
)
DENSITY = ("nll", "ais_nll", "elbo", "bits_per_dim")
"""Columns that cannot be compared between likelihoods, nor with densities given the label."""


def runs(path: Path) -> Runs:
    """Finished runs of each model, and those that failed."""
    found: Runs = {}
    for row in read(path) if path.is_file() else []:
        row["ais_nll"] = str(-float(row["ais_log_evidence"])) if row.get("ais_log_evidence") else ""
        found.setdefault(row["model"], []).append(row)
    return found


def table(path: Path = RESULTS / "zoo_digits.csv") -> str:
    """Variants in Markdown: metrics, what each has of its own, and which are missing, except from data with factors."""
    everyone = runs(path)
    done = {name: finished(rows) for name, rows in everyone.items() if finished(rows)}
    if PLAIN not in done:
        return "Not measured yet.\n"
    columns = [column for column in COLUMNS if any(values(rows, column) for rows in done.values())]
    head = ["model", "seeds", *(column.title for column in columns)]
    lines = [":::{container} sortable", "", _line(head), "|---" * len(head) + "|"]
    names = [name for name in variants() if name in done]
    for name in names:
        cells = [_cell(done[name], column, mark(name, done, column)) for column in columns]
        lines.append(_line([_link(name), str(len(done[name])), *cells]))
    lines += ["", ":::", "", _made(done), ""]
    lines += ["| model | of its own | posterior | prior | likelihood | latent |", "|---" * 6 + "|"]
    for name in names:
        row = done[name][0]
        own = "; ".join(filter(None, [own_of(row), "sees labels" if row["labels"] else ""]))
        lines.append(_line([_link(name), own, *(row[key] for key in ("posterior", "prior", "likelihood", "latent"))]))
    return "\n".join([*lines, "", *([] if SETTINGS[done[PLAIN][0]["data"]].factors else missing(everyone)), ""])


def missing(everyone: Runs) -> list[str]:
    """One item for each model without a row, with the reason, and one for models with fewer seeds than the VAE."""
    lines = []
    for name in variants():
        rows = everyone.get(name, [])
        if not finished(rows):
            reason = rows[0]["error"] if rows else "not run yet"
            lines.append(f"- {_link(name)} has no row: {reason}")
    return ["Without a row:", "", *lines] if lines else ["Every model has a row."]


def sections(name: str) -> list[str]:
    """Lines of a model's page on all data, with the picture of the first data that have one."""
    drawn = [data for data in ("mnist", "digits") if (FIGURES / data / f"{name.lower()}.png").is_file()][:1]
    found = [
        line
        for data in ("mnist", "digits", "sprites")
        for line in section(name, RESULTS / f"zoo_{data}.csv", picture=data in drawn)
    ]
    return [*found, "[All models, and how they were run](../zoo.md).", ""] if found else []


def section(name: str, path: Path = RESULTS / "zoo_digits.csv", *, picture: bool = False) -> list[str]:
    """Lines of a model's page: its row beside that of the plain VAE, what is worse and better, and a picture."""
    everyone = runs(path)
    mine, plain = finished(everyone.get(name, [])), finished(everyone.get(PLAIN, []))
    if not (mine and plain):
        return []
    done = {name: mine, PLAIN: plain}
    data = mine[0]["data"]
    shown = [PLAIN] if name == PLAIN else [PLAIN, name]
    columns = [column for column in COLUMNS if any(values(done[each], column) for each in shown)]
    lines = [f"## Comparison with the plain VAE on {data}" if name != PLAIN else f"## Metrics on {data}", ""]
    lines += [_line(["", *shown]), "|---" * (len(shown) + 1) + "|"]
    lines.append(_line(["seeds", *(str(len(done[each])) for each in shown)]))
    for column in columns:
        lines.append(_line([column.title, *(_cell(done[each], column, mark(each, done, column)) for each in shown)]))
    lines += ["", *([] if name == PLAIN else [*words(mine, plain), ""])]
    if picture:
        lines += [f"![{name} on {data}, seed 0](../figures/zoo/{data.lower()}/{name.lower()}.png)", ""]
        lines += [f"*{name} on {data}, seed 0: {CAPTION}. From a checkout, it is made by*", ""]
        budget = "" if _whole(mine[0]) else f" --epochs {mine[0]['epochs']}"
        lines += ["```bash", f"python -m benchmarks.zoo --data {data} --seeds 0{budget} --only {name}", "```", ""]
    return lines


def words(mine: Sequence[dict[str, str]], plain: Sequence[dict[str, str]]) -> list[str]:
    """Sentences on what is worse and what is better than in the plain VAE.

    A metric counts if the difference has one sign in all seeds that both have, at least three, and its mean over them
    is more than two standard errors from 0.
    """
    seeds = sorted({row["seed"] for row in mine} & {row["seed"] for row in plain})
    by_seed = [{row["seed"]: row for row in rows} for rows in (mine, plain)]
    differences: dict[str, list[str]] = {"worse": [], "better": []}
    rest: list[str] = []
    for column in COLUMNS if len(seeds) > 2 else ():  # of fewer seeds, nobody knows what is chance
        if not column.words or (column.key in DENSITY and not comparable(mine[0], plain[0])):
            continue
        pairs = [tuple(rows[seed].get(column.key, "") for rows in by_seed) for seed in seeds]
        if not pairs or not all(all(pair) for pair in pairs):
            continue
        gains = [column.better * (float(a) - float(b)) for a, b in pairs]
        means = [statistics.mean(float(pair[n]) for pair in pairs) for n in (0, 1)]
        said = f"{column.words} {_number(means[0], column.digits)} instead of {_number(means[1], column.digits)}"
        clear = abs(statistics.mean(gains)) > 2 * statistics.stdev(gains) / len(gains) ** 0.5
        if clear and max(gains) < 0:
            differences["worse"].append(said)
        elif clear and min(gains) > 0:
            differences["better"].append(said)
        else:
            rest.append(column.words)
    lines = [
        f"**{how.capitalize()}** than the plain VAE in all {len(seeds)} seeds: {', '.join(all_)}."
        for how, all_ in differences.items()
        if all_
    ]
    lines += [f"No clear difference: {', '.join(rest)}."] if rest else []
    if not comparable(mine[0], plain[0]):
        why = "its densities are given the label" if mine[0]["labels"] else f"its likelihood is {mine[0]['likelihood']}"
        lines.append(f"Bounds and NLL cannot be compared with those of the VAE: {why}.")
    if own := own_of(mine[0]):
        lines.append(f"Not as in the plain VAE, apart from what the model is: {own}.")
    return [part for line in lines for part in (line, "")][:-1]


def own_of(row: dict[str, str]) -> str:
    """What is not the same as in other models: arguments, and a budget of fewer epochs."""
    budget = "" if _whole(row) else f"only {row['epochs']} of {SETTINGS[row['data']].epochs} epochs"
    return "; ".join(filter(None, [budget, row["own"]]))


def _whole(row: dict[str, str]) -> bool:
    return int(row["epochs"]) == SETTINGS[row["data"]].epochs


def comparable(row: dict[str, str], plain: dict[str, str]) -> bool:
    """Whether densities of examples are of the same kind."""
    return row["likelihood"] == plain["likelihood"] and not row["labels"]


def mark(name: str, done: Runs, column: Column) -> str:
    """A star on densities that cannot be compared with the plain VAE's."""
    return "\\*" if column.key in DENSITY and not comparable(done[name][0], done[PLAIN][0]) else ""


def finished(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Runs that did not fail."""
    return [row for row in rows if not row["error"]]


def values(rows: Sequence[dict[str, str]], column: Column) -> list[float]:
    """The values of a column, of the runs that have one."""
    return [float(row[column.key]) for row in rows if row.get(column.key)]


def _cell(rows: Sequence[dict[str, str]], column: Column, star: str) -> str:
    found = values(rows, column)
    if not found:
        return ""
    spread = statistics.stdev(found) if len(found) > 1 and column.better else 0.0
    error = f" ± {spread:.{column.digits}f}" if len(found) > 1 and column.better else ""
    return f"{_number(statistics.mean(found), column.digits)}{star}{error}"


def _number(value: float, digits: int) -> str:
    return f"{value:,.{digits}f}".replace("-", "−")


def _made(done: Runs) -> str:
    """How the runs were made."""
    rows = [row for each in done.values() for row in each]
    first, data = rows[0], rows[0]["data"]
    setting = SETTINGS[data]
    errors = [float(row["nll_se"]) for row in rows if row["nll_se"]]
    spreads = [float(row["nll_se_data"]) for row in rows if row["nll_se_data"]]
    heavy = [float(row["pareto_k_high"]) for row in rows if row["pareto_k_high"]]
    counts = sorted({len(each) for each in done.values()})
    seeds = " to ".join(map(str, counts[:: max(1, len(counts) - 1)]))
    commits, hardware = (sorted({row[key] for row in rows}) for key in ("commit", "hardware"))
    floor = first["fid_of_training_images"]
    said = [
        f"{data}, {first['epochs']} epochs, dense networks of widths {setting.hidden}, {setting.latent_dim} latent",
        f"dimensions, {seeds} {'seed' if counts == [1] else 'seeds'} a model. Means over seeds ± their standard",
        f"deviation. The standard error of an NLL is up to {max(errors):.2f} nats from importance sampling and about",
        f"{statistics.median(spreads):.2f} from the choice of test images, which are the same for all models.",
        f"Only the first {setting.num_tested:,} test images are measured." if setting.num_tested else "",
        f"Importance weights have heavy tails for {statistics.median(heavy):.0%} of the images (median over runs,",
        f"at most {max(heavy):.0%}): there, an NLL may be too high by more than its standard error.",
        f"Training images have an FID of {float(floor):.1f}." if floor else "",
        f"Measured at {', '.join(commits)} on {'; '.join(hardware)}, torch {first['torch']}, beside other work.",
    ]
    return " ".join(filter(None, said))


def _link(name: str) -> str:
    return f"[{name}](models/{name.lower()}.md)"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
