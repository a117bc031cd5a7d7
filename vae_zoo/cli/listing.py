"""``vae-zoo list``: models with their papers and configurations, read from the sources and nothing imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import vae_zoo


class Entry(NamedTuple):
    """One model of the zoo.

    Args:
        name: Class name.
        line: What it is.
        paper: Title, authors and year.
        link: Address of the paper.
        configs: Names of the packaged configurations that use it.
    """

    name: str
    line: str
    paper: str
    link: str
    configs: list[str]


def entries(configs: list[Path]) -> list[Entry]:
    """Every model in ``vae_zoo.models.__all__`` that has a configuration or may be trained, in alphabetical order.

    Args:
        configs: Files of configurations, whose model is read from the text.
    """
    folder = Path(vae_zoo.__file__).parent / "models"
    public = set(_public(folder / "__init__.py"))
    used: dict[str, list[str]] = {}
    for path in configs:
        if found := re.search(r"^model:\s*(?:class_path:\s*)?([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            used.setdefault(found[1].rpartition(".")[2], []).append(path.stem)
    classes = [node for path in sorted(folder.glob("*.py")) for node in ast.parse(path.read_text("utf-8")).body]
    found_entries = [
        Entry(node.name, *_said(ast.get_docstring(node) or ""), sorted(used.get(node.name, [])))
        for node in classes
        if isinstance(node, ast.ClassDef) and node.name in public and node.name != "Autoencoder"
    ]
    return sorted(found_entries, key=lambda entry: entry.name.lower())


def show(args: list[str], configs: list[Path]) -> None:
    """Print the table.

    Raises:
        ValueError: If there are arguments.
    """
    if args and args not in (["-h"], ["--help"]):
        raise ValueError(f"list takes no arguments, got {args[0]}.")
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=180)
    table = Table(
        title="Models", caption="Run one: vae-zoo fit --config NAME, or vae-zoo fit --model MODEL --data DATA"
    )
    for column in ("model", "what it is", "paper", "configs"):
        table.add_column(column, overflow="fold")
    for entry in entries(configs):
        paper = f"{entry.paper}\n{entry.link}" if entry.link else entry.paper
        table.add_row(entry.name, entry.line, paper, "\n".join(entry.configs))
    console.print(table)


def _public(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            yield from ast.literal_eval(node.value)


def _said(doc: str) -> tuple[str, str, str]:
    references = [line.strip().removeprefix("| ") for line in doc.splitlines() if line.strip().startswith("| ")]
    paper, link = ([*references, "", ""])[:2]
    return re.sub(r":\w+:`~?([^`]*)`", r"\1", doc.partition("\n")[0]).rstrip("."), paper, link
