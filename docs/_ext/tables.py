"""Generated tables: results from the benchmarks' files, checks from their docstrings."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx

from benchmarks import report
from benchmarks.common import RESULTS
from benchmarks.zoo import page as zoo
from vae_zoo import callbacks
from vae_zoo.evaluation.diagnosis.data.diagnose import DATA
from vae_zoo.evaluation.diagnosis.models.diagnose import SAVED, TRAINED
from vae_zoo.testing import CHECKS
from vae_zoo.weights import Measured, Weights, find, names


def write(app: Sphinx) -> None:
    """Write the files that pages include, each only if it has changed."""
    source = Path(app.srcdir)
    script = source.parent / "benchmarks" / "reproduce" / "table.py"
    numbers = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    tables = {"_reproduction.md": numbers, "_checks.md": checks(), "_findings.md": findings()}
    tables["_callbacks.md"] = table_of_callbacks()
    tables["_weights.md"] = weights(source / "figures" / "weights")
    tables |= {
        "_throughput.md": report.throughput(),
        "_scaling.md": report.scaling(),
        "_precision.md": report.precision(),
        "_evidence.md": report.evidence(),
        "_tables.md": report.tables(),
        "_faults.md": report.faults(),
        "_ranks.md": report.ranks(),
        "_servers.md": report.servers(),
    }
    tables |= {f"_zoo_{data}.md": zoo.table(RESULTS / f"zoo_{data}.csv") for data in ("mnist", "digits", "sprites")}
    for name, text in tables.items():
        path = source / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def weights(pictures: Path) -> str:
    """Metrics of the packaged weights, and then how each was made, with its samples."""
    found = [find(name) for name in names()]
    head = "| name | model | data | log p(x) | bound | rate | MB |\n|---|---|---|---|---|---|---|"
    parts = ["\n".join([head, *map(row, found)])]
    for one in found:
        parts.append(f"### {one.name}")
        if (path := pictures / f"{one.name}.png").is_file():
            parts.append(f"![20 samples of {one.name}](figures/weights/{path.name})")
        args = ", ".join(f"`{part}`" for part in described(one))
        parts.append(f"{one.model_name} on {one.data_name}: {one.what}. {one.num_parameters:,} parameters; {args}.")
        fit = one.fit
        parts.append(
            f"Examples: {one.transforms}. Metrics: {one.protocol['num_examples']} examples of the test split"
            + (f", {one.protocol['num_samples']} importance samples" if "log_evidence" in one.metrics else "")
            + "".join(f"; {said} {said_as(one.metrics.get(key))}" for key, said in SHARES if key in one.metrics)
            + f". Fitted in {fit['cpu_minutes']} minutes of one core at commit {fit['commit']}, torch {fit['torch']}. "
            f"Licence: {one.licence['weights']}; of the data: {one.licence['data']}."
        )
        parts.append(f"`{fit['command']}`")
    return "\n\n".join(parts) + "\n"


SHARES = (("unexplained", "variance unexplained"), ("wrong_tokens", "tokens reconstructed wrongly"))


def row(one: Weights) -> str:
    """A line of the table."""
    cells = [f"[`{one.name}`](#{one.name})", one.model_name, one.data_name]
    cells += [said_as(one.metrics.get(key)) for key in ("log_evidence", "elbo", "kl")]
    return "| " + " | ".join([*cells, f"{one.num_bytes / 1e6:.1f}"]) + " |"


def said_as(metric: Measured | None) -> str:
    """A metric with its error; shares in percent."""
    if metric is None:
        return "–"
    return f"{metric.value:.2f} ± {metric.error:.2f}" if metric.unit else f"{metric.value:.0%} ± {metric.error:.1%}"


def described(one: Weights) -> list[str]:
    """Networks and latents of a model."""
    args = one.model["init_args"]
    found = [f"latent_dim={args['latent_dim']}"] if "latent_dim" in args else []
    for part in ("encoder", "likelihood"):
        given = args.get(part) or {}
        short = str(given.get("class_path", "")).rpartition(".")[2]
        sizes = given.get("init_args", {})
        shown = ", ".join(f"{k}={sizes[k]}" for k in ("hidden", "width", "scale") if k in sizes)
        found += [f"{part}={short}({shown})"] if short else []
    return found


def checks() -> str:
    """Names and descriptions of the checks."""
    said = {name: " ".join((check.__doc__ or "").split()).replace("|", r"\|") for name, check in CHECKS.items()}
    rows = [f"| `{name}` | {text} |" for name, text in said.items()]
    return "\n".join(["| check | requirement |", "|---|---|", *rows, ""])


def findings() -> str:
    """Names of the findings of vae-zoo doctor, by subject, with what their functions say of them."""
    lines = []
    for title, diagnoses in (("data", DATA), ("trained models", TRAINED), ("checkpoints", SAVED)):
        lines += [f"### Findings of {title}", "", "| finding | meaning |", "|---|---|"]
        lines += [f"| `{d.__name__}` | {told(d.__doc__ or '')} |" for d in diagnoses]
        lines.append("")
    return "\n".join(lines)


def table_of_callbacks() -> str:
    """Names of the callbacks, each linked to its class, with the first lines of their docstrings."""
    lines = {name: (getattr(callbacks, name).__doc__ or "").partition("\n")[0] for name in callbacks.__all__}
    rows = [f"| {{class}}`~vae_zoo.callbacks.{name}` | {told(line)} |" for name, line in lines.items()]
    return "\n".join(["| callback | what it does |", "|---|---|", *rows, ""])


def told(doc: str) -> str:
    """A docstring in one cell of a table, without the markup of its links."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?([^`]*)`", r"`\1`", " ".join(doc.split()))
    return text.replace("``", "`").replace("|", r"\|")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
