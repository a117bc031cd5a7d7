"""The notebooks of the documentation run, and carry the outputs that their readers see."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from short import few

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted(DOCS.glob("notebooks/*.ipynb"))
RUNNER = runpy.run_path(str(DOCS / "notebooks.py"))


def kinds(notebook: dict[str, Any]) -> list[list[str]]:
    """The kinds of the outputs of each cell."""
    return [[output["output_type"] for output in cell.get("outputs", [])] for cell in notebook["cells"]]


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of Lightning about its loaders
@pytest.mark.parametrize("path", few(NOTEBOOKS, 1), ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_GLOBAL_SEED", "0")  # set by the cells, and put back by monkeypatch
    here = Path.cwd()
    assert kinds(RUNNER["run"](path, tmp_path)) == kinds(json.loads(path.read_text(encoding="utf-8")))
    assert Path.cwd() == here


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_carries_its_outputs(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(cell["outputs"]) for cell in code) >= 3
    assert path.stat().st_size < 200_000
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])


def test_what_a_cell_gives() -> None:
    names: dict[str, Any] = {}
    (printed,) = RUNNER["outputs"]("a = 2\nprint(a)\na", "here", names, 1)
    assert printed == {"output_type": "stream", "name": "stdout", "text": ["2\n"]}
    (value,) = RUNNER["outputs"]("a + 1", "here", names, 2)
    assert value["data"] == {"text/plain": ["3"]}
    with pytest.raises(ZeroDivisionError):
        RUNNER["outputs"]("1 / 0", "here", names, 3)
