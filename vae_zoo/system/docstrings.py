"""Docstrings and names, read as text."""

from __future__ import annotations

import re

WHEN = "When to use it:"
"""Head of the section of a model's docstring that says when to use it, and when not."""


def first_line(doc: str) -> str:
    """First line of a docstring, without markup."""
    return _plain(doc.partition("\n")[0]).rstrip(".")


def summary(doc: str) -> tuple[str, str, str]:
    """First line of a docstring, its paper and the paper's address."""
    references = [line.strip().removeprefix("| ") for line in doc.splitlines() if line.strip().startswith("| ")]
    paper, link = ([*references, "", ""])[:2]
    return first_line(doc), paper, link


def when(doc: str) -> str:
    """The section of a model's docstring that says when to use it; empty if it has none."""
    found = re.search(rf"^{WHEN}\n((?:    .*\n?)+)", doc, re.MULTILINE)
    return " ".join(found[1].split()) if found else ""


def described(doc: str) -> dict[str, str]:
    """The section ``Args:`` of a docstring."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)+)", doc, re.MULTILINE)
    found = re.findall(r"^    (\w+): (.*(?:\n     +.*)*)", section[1], re.MULTILINE) if section else []
    return {name: _plain(" ".join(text.split())) for name, text in found}


def snake_case(name: str) -> str:
    """The name of a class as that of a metric: ``sliced_wasserstein`` for ``SlicedWasserstein``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _plain(text: str) -> str:
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?([^`]*)`", r"\1", text)
    return text.replace("``", "").replace("\\*", "*")
