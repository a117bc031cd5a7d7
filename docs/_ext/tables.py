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
from vae_zoo.evaluation.diagnosis.data.diagnose import DATA
from vae_zoo.evaluation.diagnosis.models.diagnose import SAVED, TRAINED
from vae_zoo.testing import CHECKS


def write(app: Sphinx) -> None:
    """Write the files that pages include, each only if it has changed."""
    source = Path(app.srcdir)
    script = source.parent / "benchmarks" / "reproduce" / "table.py"
    numbers = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout
    tables = {"_reproduction.md": numbers, "_checks.md": checks(), "_findings.md": findings()}
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
    tables |= {f"_zoo_{data}.md": zoo.table(RESULTS / f"zoo_{data}.csv") for data in ("digits", "sprites")}
    for name, text in tables.items():
        path = source / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


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


def told(doc: str) -> str:
    """A docstring in one cell of a table, without the markup of its links."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?([^`]*)`", r"`\1`", " ".join(doc.split()))
    return text.replace("``", "`").replace("|", r"\|")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
