"""The shape of the package: what a file may import, and how long a function may be."""

from __future__ import annotations

import ast
import re
import runpy
import sys
from collections import Counter
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vae_zoo

PACKAGE = Path(vae_zoo.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = (
    ("typing", "functional", "system"),
    ("security", "nn", "metrics"),
    ("distributions",),
    ("penalties", "checkpoints", "elbo"),
    ("training",),
    ("models", "data"),
    ("evaluation", "samplers"),
    ("callbacks", "loggers"),
    ("export", "weights"),
    ("hub",),
    ("testing",),
    ("cli", "__main__"),
)
FILES_IN_A_FOLDER = 15
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}
SCREEN = 60
EAGER = {"torch", "lightning", "torchmetrics", "jsonargparse", "numpy", "yaml", "rich"}  # Lightning brings them all


def part_of(name: str) -> str:
    """The part of the package that a dotted name is in: ``models`` for ``vae_zoo.models.plain``; none for the root."""
    return name.removeprefix("vae_zoo").strip(".").split(".")[0]


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            base = node.module or ""
            yield from (f"{base}.{alias.name}" for alias in node.names) if base == "vae_zoo" else [base]


def top_level(tree: ast.Module) -> ast.Module:
    """The statements that run on import."""
    guarded = [n for n in tree.body if not (isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test))]

    class Outside(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

    return Outside().visit(ast.Module(guarded, []))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_file(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    here = part_of(".".join(path.relative_to(PACKAGE).with_suffix("").parts))
    floor = len(FLOORS) if here == "__init__" else FLOOR[here]
    for name in imports(top_level(tree) if here == "__init__" else tree):
        there = part_of(name) if name.split(".")[0] == "vae_zoo" else ""
        # A part may import from itself, from lower floors, and what has no part: the version.
        if there in FLOOR and there != here:
            main = (here, there) == ("__main__", "cli")
            assert FLOOR[there] < floor or main, f"{path}: {here} imports {there}, which is not on a lower floor"
    eager = {name.split(".")[0] for name in imports(top_level(tree))} - EAGER - sys.stdlib_module_names - {"vae_zoo"}
    assert not eager, f"{path} imports {eager} at start-up: do it where it is used"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= SCREEN, f"{path}: {node.name} has {length} lines, more than a screen"
    assert ".cuda(" not in text, f"{path}: create tensors where their inputs are"


def test_no_import_goes_round() -> None:
    """Files that import each other at start-up, however long the way is."""
    names = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for path in FILES
    }
    graph: dict[str, set[str]] = {}
    for path in FILES:
        here = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        found = set()
        for node in ast.walk(top_level(ast.parse(path.read_text(encoding="utf-8")))):
            if isinstance(node, ast.ImportFrom):
                paths = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= (paths & names) or {node.module}
        graph[here] = found & names - {here, "vae_zoo"}
    TopologicalSorter(graph).prepare()  # raises CycleError, with the files


def test_a_folder_is_seen_at_once() -> None:
    everything = [path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    folders: dict[str, int] = Counter(str(path.parent.relative_to(PACKAGE)) for path in everything)
    assert not {folder: num for folder, num in folders.items() if num > FILES_IN_A_FOLDER}
    assert {path.name for path in PACKAGE.glob("[!_]*") if path.name != "py.typed"} == {
        part + ".py" * (PACKAGE / f"{part}.py").is_file() for part in FLOOR if part != "__main__"
    }


def test_the_picture_of_the_floors_is_drawn_from_them() -> None:
    docs = PACKAGE.parent / "docs"
    drawing = runpy.run_path(str(docs / "floors.py"))["drawing"](FLOORS)
    assert (docs / "figures" / "floors.svg").read_text(encoding="utf-8") == drawing, "run python docs/floors.py"


def test_every_path_that_the_architecture_page_names_is_there() -> None:
    text = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = {path for path in re.findall(r"`([\w/*]+(?:\.py|/))`", text) if not path.startswith("tests/")}
    assert len(paths) > 30
    assert not {path for path in paths if not any(PACKAGE.rglob(path))}


def test_an_upward_import_is_seen() -> None:
    names = list(
        imports(ast.parse("from vae_zoo.models.plain.vae import VAE\nfrom vae_zoo import hub\nimport vae_zoo.elbo"))
    )
    assert [part_of(name) for name in names] == ["models", "hub", "elbo"]
    inside = ast.parse("def f():\n    import scipy\nclass A:\n    import wandb")
    assert list(imports(top_level(inside))) == ["wandb"]


def test_every_class_of_the_zoo_is_documented_and_public() -> None:
    from helpers import MODELS

    for cls in MODELS:
        assert cls.__doc__
        assert "Args:" in cls.__doc__, cls


def test_short_names_of_networks_and_models_are_nobody_elses() -> None:
    """A short name in a configuration would otherwise find two classes of one type."""
    import torch
    from torchvision import models as pictures
    from torchvision import ops

    from vae_zoo import models, nn

    theirs = {name for module in (torch.nn, ops, pictures) for name in dir(module)}
    assert "MLP" in theirs
    assert not theirs & {*nn.__all__, *models.__all__}
