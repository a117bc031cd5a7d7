"""Print published numbers beside ours, as a table in Markdown: what benchmarks/results/ holds, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"


def table() -> str:
    """One row a number; those without a result say so."""
    head = ["number", "unit", "paper", "ours", "difference", "what was shortened", "hardware", "commit"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name, row in yaml.safe_load((HERE / "rows.yaml").read_text()).items():
        path = RESULTS / f"{name}.json"
        cells = _cells(row, json.loads(path.read_text())) if path.is_file() else ["not measured", "", "", "", ""]
        paper = "" if row["paper"] is None else f"{row['paper']:g}"
        lines.append("| " + " | ".join([f"{row['what']} (`{name}`)", row["unit"], paper, *cells]) + " |")
    return "\n".join([*lines, ""])


def _cells(row: dict[str, Any], result: dict[str, Any]) -> list[str]:
    digits, sign = row.get("digits", 2), row.get("sign", 1)
    value = sign * result["value"]
    ours = f"{value:.{digits}f}" + (f" ± {result['std']:.{digits}f}" if result["std"] is not None else "")
    extra = [f"{label} {result['runs'][0]['figures'][key]:.{d}f}" for key, label, d in row.get("beside", [])]
    difference = "" if row["paper"] is None else f"{value - row['paper']:+.{digits}f}"
    epochs = sorted({run["epochs"] for run in result["runs"]})
    shortened = f"{', '.join(map(str, epochs))} epochs; {row['shortened']}"
    fitted = sorted({run["fit"]["commit"] or "?" for run in result["runs"]})
    commits = f"fit {', '.join(fitted)}; test {result['commit']}"
    return [", ".join([ours, *extra]), difference, shortened, f"{result['hardware']}, torch {result['torch']}", commits]


if __name__ == "__main__":
    print(table())
