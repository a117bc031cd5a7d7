"""What autodoc shows of a class: its constructor's arguments, and shapes as they are meant."""

# ruff: noqa: ARG001  Sphinx calls its listeners with more than they need.

from __future__ import annotations

import inspect
import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.inspect import stringify_signature

from vae_zoo.checkpoints.hyperparameters import Recorded
from vae_zoo.system.docstrings import WHEN

STAR = re.compile(r"(?<![\\*\w])\*(?=\w+[),])")


def escape_shapes(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The star of a shape (B, *shape) is no emphasis, whether its docstring escapes it or not."""
    lines[:] = [STAR.sub(r"\*", line) for line in lines]


def leave_out_use(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Leave out the section that the page of a model has under a heading of its own."""
    if what == "class" and WHEN in lines:
        first = lines.index(WHEN)
        last = next((n for n, line in enumerate(lines[first + 1 :], first + 1) if line[:1].strip()), len(lines))
        del lines[first:last]


def constructor(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str, None] | None:
    """Show the constructor's own arguments: classes that record theirs have a ``__new__`` that takes anything."""
    if what != "class" or not isinstance(obj, type) or not issubclass(obj, Recorded):
        return None
    shown = inspect.signature(obj.__init__)
    shown = shown.replace(parameters=list(shown.parameters.values())[1:])
    return stringify_signature(shown, show_annotation=False, show_return_annotation=False), None


def skip(app: Sphinx, what: str, name: str, obj: Any, skipped: bool, options: Any) -> bool | None:
    """Leave out the fields of named tuples, which the class's own docstring describes."""
    return True if str(getattr(obj, "__doc__", "")).startswith("Alias for field number") else None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", constructor)
    app.connect("autodoc-process-docstring", escape_shapes)
    app.connect("autodoc-process-docstring", leave_out_use, priority=100)  # before the sections are read
    return {"parallel_read_safe": True, "parallel_write_safe": True}
