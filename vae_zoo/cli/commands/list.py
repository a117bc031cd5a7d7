"""``vae-zoo list``: models, data sets, configurations and weights, read from the sources without imports."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill
from typing import NamedTuple

from vae_zoo.cli.inspect.configs import packaged
from vae_zoo.cli.inspect.options import choices, pairs
from vae_zoo.cli.inspect.sources import attribute, find, tree
from vae_zoo.cli.terminal import width
from vae_zoo.cli.verbs import VerbParser
from vae_zoo.system.docstrings import summary
from vae_zoo.weights import find as find_weights
from vae_zoo.weights import names as names_of_weights

MORE = """Run one: vae-zoo fit --config NAME, or vae-zoo fit --model MODEL --data DATA
More:    vae-zoo list configs or weights, and vae-zoo show NAME for one model, data set or configuration"""


FAMILIES = (
    *("plain", "objectives", "inference", "priors", "latents", "hierarchies"),
    *("codes", "matching", "supervision", "pictures", "tokenizers"),
)
"""Folders of the models, in the order of the table."""

REPORTS = {
    "E": "reports a bound and the evidence",
    "A": "reports the evidence by annealed importance sampling only",
    "-": "reports neither a bound nor an evidence",
}


class Entry(NamedTuple):
    """One model or data set of the zoo.

    Args:
        name: Class name.
        line: Summary.
        paper: Title, authors and year.
        link: Address of the paper.
        configs: Names of the packaged configurations that use it.
        family: Folder of a model; empty for data sets.
        reports: What is known of log p(x), a key of ``REPORTS``; empty for data sets.
    """

    name: str
    line: str
    paper: str
    link: str
    configs: list[str]
    family: str = ""
    reports: str = ""


def entries(group: str) -> list[Entry]:
    """All classes of a group, ``model`` or ``data``, in alphabetical order."""
    used: dict[str, list[str]] = {}
    for config in packaged().values():
        used.setdefault(chosen(config, group), []).append(config.stem)
    found = []
    for name, path in sorted(choices(group).items(), key=lambda item: item[0].lower()):
        if source := find(path):
            family = source.module.split(".")[2] if group == "model" else ""
            reports = str(attribute(path, "reports") or "")
            found.append(Entry(name, *summary(source.doc), sorted(used.get(name, [])), family, reports))
    return found


def family_line(family: str) -> str:
    """Heading of a family: the docstring of its folder."""
    (first, *_) = tree(f"vae_zoo.models.{family}")
    return str(first.value.value).rstrip(".")  # type: ignore[attr-defined]


def chosen(config: Path, group: str) -> str:
    """The class in a configuration, read from its text; empty if it has none."""
    found = re.search(rf"^{group}:\s*(?:class_path:\s*)?([\w.]+)", config.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].rpartition(".")[2] if found else ""


def classes_of(args: Sequence[str]) -> dict[str, str]:
    """The model and the data of a command line and its files; empty if they do not name any."""
    named = dict.fromkeys(("model", "data"), "")
    for flag, value in pairs(args):
        for group in named:
            if flag in ("-c", "--config"):
                named[group] = chosen(Path(value), group) or named[group]
            elif flag in (f"--{group}", f"--{group}.class_path") and re.fullmatch(r"[\w.]+", value):
                named[group] = value.rpartition(".")[2]
    return named


def about(config: Path) -> str:
    """The first comment of a configuration."""
    first, *_ = config.read_text(encoding="utf-8").splitlines()
    return first.removeprefix("#").strip()


def parser() -> VerbParser:
    """The options of the verb."""
    made = VerbParser("list", "List models, data sets, packaged configurations and weights.")
    made.add_argument("part", nargs="?", choices=TABLES, help="one table; models and data if not given")
    what = "of weights: measure the bound of the examples stored in each file again, and refuse one that differs"
    made.add_argument("--verify", action="store_true", help=what)
    return made


def show(args: list[str]) -> None:
    """Print the models and data sets, or one table.

    Raises:
        ValueError: If there is no such table, or weights give another bound than the stored one.
    """
    options = parser().parse_args(args)
    part = options.part
    if options.verify:
        if part != "weights":
            raise ValueError("--verify measures weights: vae-zoo list weights --verify.")
        verify_weights()
        return
    columns = width()
    for name in [part] if part else ["models", "data"]:
        rows = list(TABLES[name]())
        margin = max(len(first) for first, _ in rows) + 2
        longest = max(len(word) for _, lines in rows for line in lines for word in line.split())
        if columns is not None and margin + longest > columns:
            margin = 4
        print(f"{name.capitalize()}\n")
        for first, lines in rows:
            if not first:
                print("\n" * (lines is not rows[0][1]) + _wrapped(f"{lines[0]}\n", 0, columns))
                continue
            heads = [f"{first:{margin - 2}}  ", *[" " * margin] * len(lines)]
            for head, line in zip(heads, lines, strict=False):
                print(_wrapped(head + line, margin, columns))
        print()
    print(MORE)


def _wrapped(text: str, margin: int, columns: int | None) -> str:
    """A text wrapped to a width without splitting words, so that names and addresses can be copied."""
    if columns is None:
        return text
    return fill(text, columns, subsequent_indent=" " * margin, break_long_words=False, break_on_hyphens=False)


def _models() -> Iterator[tuple[str, list[str]]]:
    every = entries("model")
    found = {entry.family for entry in every}
    known = [family for family in FAMILIES if family in found]
    for family in [*known, *sorted(found - set(known))]:
        yield "", [family_line(family)]
        for entry in every:
            if entry.family == family:
                configs = f"configs: {', '.join(entry.configs)}" if entry.configs else ""
                lines = (entry.line, entry.paper, entry.link, REPORTS.get(entry.reports, ""), configs)
                yield entry.name, list(filter(None, lines))


def _data() -> Iterator[tuple[str, list[str]]]:
    for entry in entries("data"):
        yield entry.name, list(filter(None, (entry.line, entry.paper, entry.link)))


def _configs() -> Iterator[tuple[str, list[str]]]:
    rows = [(path.stem, chosen(path, "model"), chosen(path, "data"), about(path)) for path in packaged().values()]
    for name, model, data, line in sorted(rows, key=lambda row: (not row[1], row)):  # parts last
        yield name, [f"{model} on {data}: {line}" if model and data else line]


def _weights() -> Iterator[tuple[str, list[str]]]:
    for name in names_of_weights():
        found = find_weights(name)
        metrics = ", ".join(f"{key} {m.value:g} ± {m.error:g} {m.unit}".strip() for key, m in found.metrics.items())
        size = f"{found.num_bytes / 1e6:.1f} MB"
        yield name, [f"{found.model_name} on {found.data_name}: {found.what}, {size}", f"test: {metrics}"]


def verify_weights() -> None:
    """Load all weights, and compare the bounds of their stored examples with the stored ones.

    Raises:
        ValueError: If a file has been altered, or gives another bound.
    """
    from vae_zoo.weights.files import built, check_bound, read, stored

    for name in names_of_weights():
        found = find_weights(name)
        tensors = read(found)
        value = check_bound(built(found, tensors), found, *stored(tensors))
        print(f"{name}: {value:.2f} nats on {found.stored['num']} stored examples, as measured before", flush=True)


TABLES = {"models": _models, "data": _data, "configs": _configs, "weights": _weights}
