"""One page for each name in ``vae_zoo.models.__all__``: a new model is documented by being there."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import yaml
from sphinx.application import Sphinx

from benchmarks.zoo.page import sections
from vae_zoo import models
from vae_zoo.cli.commands.list import chosen
from vae_zoo.cli.commands.show import first_fit
from vae_zoo.system.docstrings import when

HOOKS = ("prior", "encode", "decode", "objective", "elbo", "losses", "param_groups")
BASES = ("Autoencoder", "VAE")
"""Classes that are derived from rather than trained come first."""


def pages(app: Sphinx) -> None:
    """Write docs/models/<name>.md for every model, and the table that the index includes."""
    source = Path(app.srcdir)
    configs = {path: yaml.safe_load(path.read_text()) for path in sorted((source.parent / "configs").glob("*.yaml"))}
    differences = by_heading((source / "differences.md").read_text(encoding="utf-8"))
    for name in models.__all__:
        own = [path for path, content in configs.items() if class_name(content["model"]) == name]
        write(source / "models" / f"{name.lower()}.md", page(name, own, differences.get(name, "")))
    write(source / "models" / "_table.md", table())


def page(name: str, configs: list[Path], differences: str = "") -> str:
    """A model's page: what it is, how to run it, its metrics, the configurations that use it."""
    cls = getattr(models, name)
    lines = [f"# {name}", "", "```{eval-rst}", f".. autoclass:: vae_zoo.models.{name}", "   :members:", "```", ""]
    if said := when(inspect.cleandoc(vars(cls).get("__doc__") or "")):
        lines += ["## When to use it, and when not", "", said, ""]
    if not inspect.isabstract(cls):
        lines += ["## Run it", "", "```bash"]
        lines += [f"vae-zoo fit {first_fit(name)}"]
        first = {path.stem: path for path in configs}.get(first_fit(name).removeprefix("--config "))
        data = chosen(first, "data") if first else "Digits"
        lines += [f"vae-zoo test --ckpt_path results/{name}_{data}/fit_0/checkpoints/last.ckpt"]
        lines += [f"vae-zoo show {name}", "```", "", "The last command lists every argument.", ""]
    lines += sections(name)
    if not inspect.isabstract(cls):
        lines += ["[Other models in one class with it](../own_variant.md#combining-two-variants).", ""]
    if differences:
        lines += ["## What differs from the authors' code", "", differences, ""]
    if configs:
        lines += ["## Configurations", "", "Each is whole; run it by its name.", ""]
    for path in configs:
        lines += [f"### {path.stem}", "", "```bash", f"vae-zoo fit --config {path.stem}", "```", ""]
        lines += [f"```{{literalinclude}} ../../configs/{path.name}", ":language: yaml", "```", ""]
    return "\n".join(lines)


def table() -> str:
    """Models, their papers and what each overrides, read from the classes."""
    rows = ["| model | what it is | overrides | paper |", "|---|---|---|---|"]
    for name in sorted(models.__all__, key=lambda name: (name not in BASES, name.lower())):
        cls = getattr(models, name)
        hooks = [f"`{hook}`" for hook in HOOKS if hook in vars(cls)]
        doc = inspect.getdoc(cls) or ""
        first = re.sub(r":\w+:`", "`", doc.partition("\n")[0])
        paper = [line.strip().removeprefix("| ") for line in doc.splitlines() if line.strip().startswith("| ")]
        link = f"[{paper[0]}]({paper[1]})" if len(paper) > 1 else ""
        rows.append(f"| [{name}]({name.lower()}.md) | {first} | {', '.join(hooks)} | {link} |")
    return "\n".join([*rows, ""])


def by_heading(text: str) -> dict[str, str]:
    """The text of a page under each of its headings of the second level; links are those of a page one folder below."""
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)[1:]
    return {
        head: re.sub(r"\]\((?!http)", "](../", body.strip()) for head, body in zip(parts[::2], parts[1::2], strict=True)
    }


def class_name(model: str | dict) -> str:
    """The short name of the model of a configuration."""
    path = model if isinstance(model, str) else model["class_path"]
    return path.rpartition(".")[2]


def write(path: Path, text: str) -> None:
    """Write a page only if it has changed, so that a second build reads no page anew."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
