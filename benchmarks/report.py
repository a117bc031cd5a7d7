"""Tables and the plot of the documentation, from the result files and nothing else.

python benchmarks/report.py     # prints the tables, draws docs/figures/throughput.png
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PLOT = HERE.parent / "docs" / "figures" / "throughput.png"
COLOURS = {"vae_zoo": "#2f6fb0", "hand": "#8a8a8a", "": "#d98b2b"}


def throughput(path: Path = HERE / "results" / "throughput.json") -> str:
    """Ratio of every contender to the hand-written loop in Markdown, and how it was measured."""
    result = _read(path)
    if result is None:
        return "Not measured yet.\n"
    works = list(result["fit"])
    lines = ["| fit | " + " | ".join(works) + " |", "|---" * (len(works) + 1) + "|"]
    for name in dict.fromkeys(name for work in works for name in result["fit"][work]):
        cells = [_cell(result["fit"][work].get(name)) for work in works]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| evaluation of the test set's bound | ratio |", "|---|---|"]
    lines += [f"| {name} | {_cell(row)} |" for name, row in result["evaluation"].items()]
    peaks = ", ".join(f"{name} {mib} MiB" for name, mib in result["peak_mib"].items())
    return "\n".join(
        [*lines, "", f"Peak memory of a process that fits MNIST, imports included: {peaks}.", "", _made(result), ""]
    )


def scaling(path: Path = HERE / "results" / "scaling.json") -> str:
    """How cost grows, in Markdown."""
    result = _read(path)
    if result is None:
        return "Not measured yet.\n"
    lines = ["| what grows: what is measured | at each size | exponent |", "|---|---|---|"]
    for title, sweep in result["sweeps"].items():
        points = ", ".join(f"{int(x):,}: {median:.3g}" for x, (median, *_) in sweep["points"].items())
        lines.append(f"| {title} | {points} | {sweep['exponent']:.2f} |")
    for size, run in result["processes"].items():
        rates = ", ".join(f"{num}: {sorted(each)[len(each) // 2]:,}" for num, each in run["images_per_s"].items())
        bounds = ", ".join(f"{num}: {each[0]:.2f}" for num, each in run["val_elbo"].items())
        title = f"processes, {int(size):,} images a step"
        lines.append(f"| {title}: images a second of wall time | {rates} (ratio {run['ratio']:.2f}) | |")
        lines.append(f"| {title}: validation bound after an epoch, nats | {bounds} | |")
    return "\n".join([*lines, "", _made(result), ""])


def likelihoods(source: Path | dict[str, Any] = HERE / "results" / "likelihoods.json") -> str:
    """What becomes of grey images under each likelihood, in Markdown: means over seeds, and their range for the rate.

    Args:
        source: Path of the result file, or what it holds.
    """
    result = source if isinstance(source, dict) else _read(source)
    if result is None:
        return "Not measured yet.\n"
    lines = [
        "| data, epochs | model | likelihood | KL, nats (seeds) | error of reconstructions | spread of samples | σ "
        "| log p(x), nats |",
        "|---" * 8 + "|",
    ]
    for row in result["rows"]:
        mean = {key: sum(run[key] for run in row["runs"]) / len(row["runs"]) for key in row["runs"][0]}
        kl = [run["kl"] for run in row["runs"]]
        density = row["likelihood"] != "Bernoulli"
        cells = [
            f"{row['data']}, {row['epochs']}",
            row["model"],
            row["likelihood"],
            f"{mean['kl']:.2f} ({min(kl):.2f} to {max(kl):.2f})",
            f"{mean['error']:.2f}",
            f"{mean['spread']:.2f}",
            f"{mean['sigma']:.3f}" if density else "",
            f"{mean['log_evidence']:.1f}" if density else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _made(result), ""])


def precision(path: Path = HERE / "results" / "precision.json") -> str:
    """What the fast options do to the bound, in Markdown."""
    result = _read(path)
    if result is None:
        return "Not measured yet.\n"
    lines = ["| fitted with | bound of each seed, nats | mean difference |", "|---|---|---|"]
    for name, row in result["options"].items():
        bounds = ", ".join(f"{value:.2f}" for value in row["elbo"])
        lines.append(f"| {name} | {bounds} | {row['difference']:+.2f} |")
    return "\n".join([*lines, "", _made(result), ""])


def evidence(path: Path = HERE / "results" / "evidence.json") -> str:
    """Speed of the importance-weighted evidence, what bf16 does to it, and its memory, in Markdown."""
    result = _read(path)
    if result is None:
        return "Not measured yet.\n"
    lines = ["| evidence | images a CPU second | ratio | nats, the same images |", "|---|---|---|---|"]
    for name, row in result["contenders"].items():
        speed, value = row["images_per_cpu_second"][0], "{:.2f} ± {:.2f}".format(*row["log_evidence"])
        lines.append(f"| {name} | {speed:.1f} | {_cell(row)} | {value} |")
    same, half = result["same_noise"], result["bf16"]
    agree = f"pythae and vae_zoo on the same noise, float32: {same['largest']:.1g} nats apart at most." if same else ""
    bias = f"{half['difference']:+.4f} ± {half['error']:.4f} nats on average, {half['largest']:.2f} at most"
    peaks = ", ".join(f"{name} {mib:.0f} MiB" for name, mib in result["peak_mib"].items())
    return "\n".join(
        [
            *lines,
            "",
            agree,
            f"bf16 less float32 under the same noise, {half['images']} images: {bias}.",
            f"Peak memory beyond that of the imports, model included: {peaks}.",
            "",
            f"K = {result['num_samples']:,}. {_made(result)}",
            "",
        ]
    )


TABLES = {
    "log_evidence": ("log p(x)", 2),
    "elbo": ("bound", 2),
    "pareto_k": ("Pareto k", 1),
    "auroc": ("AUROC", 3),
    "marginal_distance": ("columns", 3),
    "association_difference": ("pairs", 3),
    "score": ("predictor", 3),
    "score_real": ("from training rows", 3),
    "distance": ("closest training row", 3),
    "distance_real": ("of unseen rows", 3),
    "nearer": ("nearer to training", 3),
    "seconds": ("CPU s", 0),
}
"""Titles and decimal places of the measures of ``benchmarks/tables.py``."""


def tables(path: Path = HERE / "results" / "tables.json") -> str:
    """TVAE and that of ctgan on the same tables, in Markdown: means over seeds, and their standard deviations."""
    result = _read(path)
    if result is None:
        return "Not measured yet.\n"
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        rows.setdefault((row["data"], row["model"]), []).append(row)
    order = list(dict.fromkeys(data for data, _ in rows))
    lines = ["| table | model | " + " | ".join(title for title, _ in TABLES.values()) + " |"]
    lines.append("|---" * (len(TABLES) + 2) + "|")
    for (data, model), runs in sorted(rows.items(), key=lambda item: order.index(item[0][0])):
        cells = [_over_seeds([run[key] for run in runs], digits) for key, (_, digits) in TABLES.items()]
        lines.append(f"| {data} | {model} | " + " | ".join(cells) + " |")
    seeds = len({row["seed"] for row in result["rows"]})
    named = ("torch", "lightning", "scikit-learn", "ctgan", "rdt")
    made = {**result, "versions": {name: result[name] for name in named if name in result}}
    return "\n".join([*lines, "", f"Means over {seeds} seeds ± their standard deviations. {_made(made)}", ""])


def _over_seeds(values: list[float], digits: int) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}".replace("-", "−")


def faults(path: Path = HERE / "results" / "faults.json") -> str:
    """What is lost when fits are killed, stopped and damaged, in Markdown."""
    result = _read(path)
    if result is None:
        return "Not measured yet.\n"
    kill, chaos, damage = result["kill"], result["chaos"], result["damage"]
    lines = ["| what was done | what came of it |", "|---|---|"]
    lines.append(
        f"| {kill['kills']} SIGKILLs aimed at saves, {kill['within_a_save']} within one, "
        f"temporary folder {'on another file system' if result['temporary_folder_elsewhere'] else 'on the same'} "
        f"| {kill['torn']} torn files, at most {kill['steps_lost']} steps lost of an interval of {kill['interval']} |"
    )
    lines.append(
        f"| {chaos['runs']} runs killed {chaos['kills']} times and restarted | {chaos['finished']} finished, "
        f"{chaos['bitwise_equal']} bitwise equal to the uninterrupted run, {len(chaos['crashes'])} crashes |"
    )
    for name, row in result["signals"].items():
        code = next(key for key in row if key.startswith("exit_"))
        lines.append(
            f"| {row['sent']} {name} at any step | {row[code]} exits with {code.removeprefix('exit_')}, "
            f"{row['swallowed']} swallowed, {row['steps_lost']} steps lost |"
        )
    lines.append(
        f"| {damage['flips']} bit flips, {damage['cuts']} truncations of a checkpoint | {damage['refused']} refused, "
        f"{damage['loaded_with_other_weights']} loaded with other weights, "
        f"{damage['with_one_line']} fallbacks with one line of warning |"
    )
    for name, row in result["resumes"].items():
        lines.append(
            f"| {name}: {row['points']} stopping points, {row['chains']} chains of 2 to 4 resumes "
            f"| {row['different']} not bitwise equal |"
        )
    return "\n".join([*lines, "", _made(result), ""])


def ranks(path: Path = HERE / "results" / "ranks.json") -> str:
    """How a run on two devices ends when one of its processes is hit, in Markdown."""
    result = _read(path)
    if result is None:
        return "Not measured yet.\n"
    lines = ["| signal | to process | all gone after | exit code | processes left |", "|---|---|---|---|---|"]
    for case in result["cases"]:
        seconds = f"{case['seconds']:.1f} s"
        lines.append(f"| {case['signal']} | {case['rank']} | {seconds} | {case['exit_code']} | {case['left']} |")
    return "\n".join(
        [*lines, "", f"Two processes on the CPU, {result['timeout']:g} s of patience. {_made(result)}", ""]
    )


def servers(path: Path = HERE / "results" / "servers.json") -> str:
    """What a run waits for a server of Weights & Biases that is not there, in Markdown."""
    result = _read(path)
    if result is None:
        return "Not measured yet.\n"
    lines = ["| case | seconds of the whole run | more than without `--wandb` |", "|---|---|---|"]
    for name, row in result["cases"].items():
        seconds, added = ("{:.1f} ({:.1f} to {:.1f})".format(*row[key]) for key in ("seconds", "added"))
        quoted = f"`{name}`" if "--" in name else name
        lines.append(f"| {quoted} | {seconds} | {added} |")
    return "\n".join([*lines, "", _made(result), ""])


def plot(path: Path = HERE / "results" / "throughput.json", to: Path = PLOT) -> None:
    """Bars of the ratios, with their range over the rounds."""
    import matplotlib.pyplot as plt

    result = _read(path)
    if result is None:
        raise FileNotFoundError(f"no {path}: run python benchmarks/throughput.py")
    figure, axes = plt.subplots(len(result["fit"]), 1, figsize=(8.2, 10.5), layout="constrained")
    for axis, (work, rows) in zip(axes, result["fit"].items(), strict=True):
        rows = {name: row["ratio"] for name, row in rows.items() if "ratio" in row}
        names = sorted(rows, key=lambda name: rows[name][0])
        medians = [rows[name][0] for name in names]
        spread = [[rows[n][0] - rows[n][1] for n in names], [rows[n][2] - rows[n][0] for n in names]]
        colours = [next(colour for start, colour in COLOURS.items() if name.startswith(start)) for name in names]
        axis.barh(names, medians, xerr=spread, color=colours, error_kw={"linewidth": 0.8})
        axis.axvline(1, color="black", linewidth=0.8, linestyle="--")
        axis.set_title(work, fontsize=10, loc="left")
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[-1].set_xlabel("images a CPU second, as a multiple of the hand-written float32 loop")
    figure.savefig(to, dpi=110)
    plt.close(figure)


def _read(path: Path) -> dict[str, Any] | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if "ratio" not in row:
        return row["missing"]
    median, low, high = row["ratio"]
    return f"{median:.2f} ({low:.2f} to {high:.2f})"


def _made(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    how = f"{result['hardware']}; {versions}; commit {result['commit']}."
    return f"Median (least to greatest) of {result['rounds']} interleaved rounds; {how}" if "rounds" in result else how


if __name__ == "__main__":
    print(throughput())
    print(scaling())
    print(precision())
    print(evidence())
    print(tables())
    print(faults())
    print(likelihoods())
    print(ranks())
    print(servers())
    plot()
    print(f"drawn to {PLOT}")
