"""Print published numbers beside ours, as tables in Markdown: what benchmarks/results/ holds, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results"


def table() -> str:
    """One row a number, those without a result saying so; then how each was run."""
    numbers = [["number", "unit", "paper", "ours", "difference", "row"]]
    runs = [["row", "what was shortened", "hardware", "commit"]]
    for name, row in yaml.safe_load((HERE / "rows.yaml").read_text()).items():
        path, ours, difference = RESULTS / f"{name}.json", "not measured", ""
        if path.is_file():
            result = json.loads(path.read_text())
            ours, difference = _figures(row, result)
            runs.append([f"`{name}`", *_run(row, result)])
        paper = "" if row["paper"] is None else f"{row['paper']:.{row.get('digits', 2)}f}"
        numbers.append([row["what"], row["unit"], paper, ours, difference, f"`{name}`"])
    return "\n".join([*_markdown(numbers), "", "How each was run:", "", *_markdown(runs), ""])


def _figures(row: dict[str, Any], result: dict[str, Any]) -> tuple[str, str]:
    digits, value = row.get("digits", 2), row.get("sign", 1) * result["value"]
    ours = f"{value:.{digits}f}" + (f" ± {result['std']:.{digits}f}" if result["std"] is not None else "")
    figures = result["runs"][0]["figures"]
    beside = [f"{label}: {figures[key]:.{d}f}" for key, label, d in row.get("beside", [])]
    difference = "" if row["paper"] is None else f"{value - row['paper']:+.{digits}f}"
    return "; ".join([ours, *beside]), difference


def _run(row: dict[str, Any], result: dict[str, Any]) -> tuple[str, str, str]:
    epochs = ", ".join(map(str, sorted({run["epochs"] for run in result["runs"]})))
    fitted = ", ".join(sorted({run["fit"]["commit"] or "?" for run in result["runs"]}))
    hardware = f"{result['hardware']}, torch {result['torch']}"
    return f"{epochs} epochs; {row['shortened']}", hardware, f"fit {fitted}; test {result['commit']}"


def _markdown(rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|---" * len(rows[0]) + "|", *lines[1:]]


if __name__ == "__main__":
    print(table())
