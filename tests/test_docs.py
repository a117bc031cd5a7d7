"""Every command and every piece of Python in README.md and docs/ runs, in the order of its page.

A page has one working folder. A block that begins with the comment ``<!-- file: NAME -->`` is written to that file;
one after ``<!-- not run: REASON -->`` is left out. Long fits are cut short by options at their end.
"""

from __future__ import annotations

import inspect
import re
import shlex
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import yaml
from short import few

from vae_zoo import data, models
from vae_zoo.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("[!_]*.md"))]  # not what a build has left
BLOCK = re.compile(r"(?:<!-- (file|not run): (.+?) -->\n)?```(bash|python|yaml)\n(.*?)```", re.DOTALL)
SHORT = ["--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.num_sanity_val_steps=0"]
SHORT_PAGES = ("devices",)
QUICK = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in SHORT_PAGES)]
STOPS = ("--help", "--version", ".help", "--print_config")


class Block(NamedTuple):
    marker: str
    argument: str
    language: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [Block(*found) for found in BLOCK.findall(page.read_text())]


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line, comments=True)[1:] for line in text.splitlines() if line.startswith("vae-zoo ")]


def shortened(args: list[str]) -> list[str]:
    """The same command, over in a second or two."""
    if args[0] == "fit" and not any(stop in arg for arg in args for stop in STOPS):
        epochs = "2" if "--ckpt_path" in args else "1"
        return [*args, *SHORT, f"--trainer.max_epochs={epochs}"]
    if args[0] == "check":
        return [*args, "--only", "gradients"] if "--only" not in args else args
    return [*args, "--evidence.num_samples=3"] if args[0] == "test" else args


def run(args: list[str]) -> None:
    try:
        main(shortened(args))
    except SystemExit as stopped:
        if stopped.code:
            pytest.fail(f"vae-zoo {shlex.join(args)} ends with exit code {stopped.code}")


@pytest.mark.filterwarnings("default")  # two steps of training end in a collapse, and are warned of
@pytest.mark.parametrize("page", few(filter(blocks, PAGES), len(QUICK), *QUICK), ids=lambda page: page.stem)
def test_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # set by the runs, and put back by monkeypatch
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    before, names = set(sys.modules), {"__name__": "page"}
    try:
        for block in blocks(page):
            if block.marker == "file":
                Path(block.argument).parent.mkdir(parents=True, exist_ok=True)
                Path(block.argument).write_text(block.text)
            elif block.marker == "not run":
                assert block.argument, "say why"
            elif block.language == "python":
                exec(compile(block.text, str(page), "exec"), names)
            elif block.language == "yaml":
                yaml.safe_load(block.text)
            else:
                for args in commands(block.text):
                    run(args)
    finally:
        for name in set(sys.modules) - before:
            if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
                del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    generated = {f"models/{name.lower()}.md" for name in models.__all__}
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path = target.partition("#")[0]
        if path and not target.startswith("http") and path not in generated:
            assert (page.parent / path).exists(), f"{page.name} links to {target}"


@cache
def arguments(module: ModuleType) -> set[str]:
    """Names of the arguments of all its classes, those of their bases included."""
    classes = {base for name in module.__all__ if inspect.isclass(cls := getattr(module, name)) for base in cls.__mro__}
    return {name for cls in classes if "__init__" in vars(cls) for name in inspect.signature(cls.__init__).parameters}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_options_are_arguments(page: Path) -> None:
    """Also those in the text, which are not run; a class on the page itself may have arguments of its own."""
    own = " ".join(block.text for block in blocks(page) if block.language == "python")
    for group, name in re.findall(r"--(model|data)\.([a-z_]+)", page.read_text(encoding="utf-8")):
        known = name in arguments({"model": models, "data": data}[group])
        assert known or re.search(rf"\b{name}:", own), f"--{group}.{name} is not an argument"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for block in blocks(page):
        wanted = re.findall(r"^make (\w+)", block.text, re.MULTILINE) if block.language == "bash" else []
        assert set(wanted) <= targets


def test_readme_names_models_that_exist() -> None:
    table = (ROOT / "README.md").read_text().partition("| family | models |")[2].partition("\n\n")[0]
    named = re.findall(r"`(\w+)`", table)
    assert {"AE", "VAE", "IWAE"} <= set(named) <= set(models.__all__)
    assert len(named) == len(set(named))


def test_the_change_that_adds_a_variant_is_three_files_as_they_are() -> None:
    files = (ROOT / "docs" / "variant.diff").read_text().split("diff --git ")[1:]
    assert len(files) == 3
    for text in files:
        path = ROOT / text.split(" b/")[1].split("\n")[0]
        added = [line[1:] for line in text.splitlines() if line.startswith("+") and not line.startswith("+++")]
        now = path.read_text().splitlines()
        assert added == now if "new file" in text else set(added) <= set(now)


@pytest.mark.parametrize("name", [n for n in models.__all__ if not inspect.isabstract(getattr(models, n))])
def test_every_model_says_when_to_use_it(name: str) -> None:
    text = inspect.cleandoc(vars(getattr(models, name))["__doc__"])
    found = re.search(r"^When to use it:\n((?:    .+\n)+)\n(?=References:)", text, re.MULTILINE)
    assert found, "two to four sentences under 'When to use it:', before 'References:' of its docstring"
    said = " ".join(found[1].split())
    assert 2 <= len(re.findall(r"[.](?= |$)", said)) <= 4
    for named in re.findall(r"``(\w+)``", said):
        if named[:1].isupper() and named.endswith(("VAE", "AE", "GAN", "M2")):
            assert named in models.__all__


def test_differences_are_of_models() -> None:
    heads = re.findall(r"^## (.+)$", (ROOT / "docs" / "differences.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(heads) <= set(models.__all__)
    assert heads == sorted(heads, key=str.lower)


@pytest.mark.parametrize(
    ("word", "page"),
    [("blurry", "questions"), ("collapse", "questions"), ("cite", "reproduction"), ("ELBO", "glossary")],
)
def test_words_of_a_search_are_on_their_page(word: str, page: str) -> None:
    assert re.search(rf"\b{word}\b", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"), re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_rows_of_tables_have_the_columns_of_their_heads(page: Path) -> None:
    """A bar within a cell, as in p(x|z), would end it."""
    columns = 0
    for line in page.read_text(encoding="utf-8").splitlines():
        bars = len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0
        assert bars in (0, columns or bars), line
        columns = bars
