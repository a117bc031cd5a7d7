"""Run the notebooks of the documentation, docs/notebooks/*.ipynb, and write what their cells give into them.

``python docs/notebooks.py`` runs all of them, ``python docs/notebooks.py first_vae`` one; each in a folder of its own.
Needs no kernel: cells are run one after the other in this process, in one namespace.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt

FOLDER = Path(__file__).parent / "notebooks"


def run(path: Path, folder: Path) -> dict[str, Any]:
    """The notebook with new outputs.

    Args:
        path: The notebook.
        folder: Working folder of its cells.
    """
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    before, names = Path.cwd(), {"__name__": "__main__"}
    os.chdir(folder)
    try:
        count = 0
        for number, cell in enumerate(notebook["cells"]):
            if cell["cell_type"] == "code":
                count += 1
                cell["execution_count"] = count
                cell["outputs"] = outputs("".join(cell["source"]), f"{path.name}, cell {number}", names, count)
    finally:
        os.chdir(before)
        plt.close("all")
    return notebook


def outputs(source: str, where: str, names: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """What a cell prints, draws, and has as its last value."""
    tree, value, found = ast.parse(source), None, []
    last = ast.Expression(tree.body.pop().value) if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, where, "exec"), names)
        if last is not None:
            value = eval(compile(last, where, "eval"), names)
    if text := printed.getvalue():
        found.append({"output_type": "stream", "name": "stdout", "text": text.splitlines(keepends=True)})
    for number in plt.get_fignums():
        with io.BytesIO() as file:
            plt.figure(number).savefig(file, dpi=72, bbox_inches="tight", format="png", metadata={"Software": None})
            picture = base64.b64encode(file.getvalue()).decode()
        data = {"image/png": picture, "text/plain": ["<Figure>"]}
        found.append({"output_type": "display_data", "metadata": {}, "data": data})
    plt.close("all")
    if value is not None and not found:
        result = {"output_type": "execute_result", "execution_count": count, "metadata": {}}
        found.append({**result, "data": {"text/plain": repr(value).splitlines(keepends=True)}})
    return found


def main() -> None:
    for name in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        path = FOLDER / f"{name}.ipynb"
        with tempfile.TemporaryDirectory() as folder:
            notebook = run(path, Path(folder))
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
