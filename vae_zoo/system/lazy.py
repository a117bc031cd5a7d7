"""Packages whose names are imported when they are first used."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


def lazily(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """``__getattr__`` and ``__dir__`` of a package, for the names that its file imports under ``TYPE_CHECKING``.

    Type checkers, editors and readers see ordinary imports, and what is not used is not imported.

    Args:
        package: Name of the package.
        file: Its ``__init__.py``.
    """

    @cache
    def modules() -> dict[str, str]:
        blocks = [n.body for n in ast.parse(Path(file).read_text(encoding="utf-8")).body if isinstance(n, ast.If)]
        nodes = [node for body in blocks for node in body if isinstance(node, ast.ImportFrom)]
        return {alias.name: node.module for node in nodes if node.module for alias in node.names}

    def attribute(name: str) -> Any:
        if name not in modules():
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(modules()[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return attribute, lambda: sorted({*vars(sys.modules[package]), *modules()})
