"""``vae-zoo list``: models, data sets and configurations, read from the sources and nothing imported."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from vae_zoo.cli.configs import packaged
from vae_zoo.cli.options import choices
from vae_zoo.cli.sources import find, first_line
from vae_zoo.cli.verbs import VerbParser

MORE = """Run one: vae-zoo fit --config NAME, or vae-zoo fit --model MODEL --data DATA
More:    vae-zoo list configs, and vae-zoo show NAME for one model, data set or configuration"""


class Entry(NamedTuple):
    """One model or data set of the zoo.

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


def entries(group: str) -> list[Entry]:
    """Every class that may be chosen for a group, ``model`` or ``data``, in alphabetical order."""
    used: dict[str, list[str]] = {}
    for path in packaged().values():
        used.setdefault(chosen(path, group), []).append(path.stem)
    docs = {name: source.doc for name, path in choices(group).items() if (source := find(path))}
    return [Entry(name, *said(docs[name]), sorted(used.get(name, []))) for name in sorted(docs, key=str.lower)]


def chosen(config: Path, group: str) -> str:
    """The class that a configuration chooses, read from its text; empty if it leaves that open."""
    found = re.search(rf"^{group}:\s*(?:class_path:\s*)?([\w.]+)", config.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].rpartition(".")[2] if found else ""


def said(doc: str) -> tuple[str, str, str]:
    """What a docstring says first, its paper and the paper's address."""
    references = [line.strip().removeprefix("| ") for line in doc.splitlines() if line.strip().startswith("| ")]
    paper, link = ([*references, "", ""])[:2]
    return first_line(doc), paper, link


def about(config: Path) -> str:
    """The first comment of a configuration."""
    first, *_ = config.read_text(encoding="utf-8").splitlines()
    return first.removeprefix("#").strip()


def show(args: list[str]) -> None:
    """Print the models and data sets, or one table.

    Raises:
        ValueError: If there is no such table.
    """
    parser = VerbParser("list", "Show the models, data sets and packaged configurations that there are.")
    parser.add_argument("part", nargs="?", choices=TABLES, help="one table; models and data if not given")
    part = parser.parse_args(args).part
    from rich.console import Console
    from rich.table import Table

    console = Console(markup=False)  # brackets are the text's own
    if not console.is_terminal:
        console = Console(markup=False, width=180)
    for name in [part] if part else ["models", "data"]:
        columns, rows = TABLES[name]()
        table = Table(*columns, title=name.capitalize())
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(MORE)


def _models() -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    rows = [(e.name, e.line, f"{e.paper}\n{e.link}", "\n".join(e.configs)) for e in entries("model")]
    return ("model", "what it is", "paper", "configs"), rows


def _data() -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    return ("data", "what it is", "paper"), [(e.name, e.line, f"{e.paper}\n{e.link}".strip()) for e in entries("data")]


def _configs() -> tuple[Sequence[str], Iterable[Sequence[str]]]:
    rows = [(path.stem, chosen(path, "model"), chosen(path, "data"), about(path)) for path in packaged().values()]
    return ("config", "model", "data", "what it is"), sorted(rows, key=lambda row: (not row[1], row))  # parts last


TABLES = {"models": _models, "data": _data, "configs": _configs}
