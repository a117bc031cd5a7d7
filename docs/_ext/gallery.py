"""The gallery: a picture of samples for each of the packaged weights and of the models of the zoo."""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from benchmarks.common import RESULTS
from benchmarks.zoo import page as zoo
from vae_zoo.cli.commands.list import FAMILIES, entries, family_line
from vae_zoo.weights import find, names

DATA = ("mnist", "digits")
"""Data of the pictures of the zoo, the first that has one of a model being shown."""


def write(app: Sphinx) -> None:
    """Write the files that the gallery includes, each only if it has changed."""
    source = Path(app.srcdir)
    for name, text in {"_gallery_weights.md": weights(source), "_gallery_zoo.md": models(source)}.items():
        path = source / name
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


def weights(source: Path) -> str:
    """A card for each of the packaged weights that has a picture."""
    cards = []
    for name in names():
        picture, found = f"figures/weights/{name}.png", find(name)
        if (source / picture).is_file():
            evidence = found.metrics.get("log_evidence")
            said = "no evidence" if evidence is None else f"NLL {_number(-evidence.value)}"
            title = f"[`{name}`](weights.md#{name})"
            cards.append(card(picture, f"Samples of {name}", title, f"{found.model_name} on {found.data_name}, {said}"))
    return grid(cards)


def models(source: Path) -> str:
    """A card for each model that has a picture, under the heading of its family."""
    every = {entry.name: entry for entry in entries("model")}
    parts = []
    for family in [*FAMILIES, *sorted({entry.family for entry in every.values()} - {*FAMILIES, "base"})]:
        cards = [made for name, entry in every.items() if entry.family == family and (made := of_model(name, source))]
        if cards:
            parts += [f"### {family_line(family)}", "", grid(cards)]
    return "\n".join(parts)


def of_model(name: str, source: Path) -> str:
    """The card of a model; empty if it has no picture."""
    for data in DATA:
        picture = f"figures/zoo/{data}/{name.lower()}.png"
        rows = zoo.finished(zoo.runs(RESULTS / f"zoo_{data}.csv").get(name, []))
        if rows and (source / picture).is_file():
            return card(picture, f"{name} on {data}, seed 0", f"[{name}](models/{name.lower()}.md)", said(rows))
    return ""


def said(rows: list[dict[str, str]]) -> str:
    """The data of finished runs and the mean of their NLL, by AIS where there are no importance weights."""
    for column, how in ((zoo.NLL, ""), (zoo.AIS, " by AIS")):
        if found := zoo.values(rows, column):
            star = "" if rows[0]["labels"] == "" else " given the label"
            return f"{rows[0]['data']}, NLL {_number(sum(found) / len(found))}{how}{star}"
    return f"{rows[0]['data']}, no evidence"


def card(picture: str, alt: str, title: str, text: str) -> str:
    """A picture with a line below it."""
    return f"::::{{container}} card\n\n![{alt}]({picture})\n\n{title}: {text}\n\n::::\n"


def grid(cards: list[str]) -> str:
    """Cards beside each other, as many in a row as fit."""
    return "\n".join([":::::{container} cards", "", *cards, ":::::", ""])


def _number(value: float) -> str:
    return f"{value:,.2f}".replace("-", "−")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
