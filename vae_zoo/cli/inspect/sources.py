"""Classes and their arguments, read from the sources without importing them or torch."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeGuard

from vae_zoo.system.docstrings import described

READ = ("vae_zoo", "lightning")
"""Packages whose sources are read; base classes elsewhere, for instance in torch, have no known arguments."""


class Argument(NamedTuple):
    """One argument of a constructor.

    Args:
        name: Name of the argument.
        annotation: Type, as in the source.
        default: Default, as in the source; None for a required argument.
        line: Description.
        owner: Class whose constructor has it.
        by_name: Whether it is keyword-only.
    """

    name: str
    annotation: str
    default: str | None
    line: str
    owner: str
    by_name: bool


class Source(NamedTuple):
    """A class in a source file.

    Args:
        module: Module that defines the class.
        node: The class.
    """

    module: str
    node: ast.ClassDef

    @property
    def doc(self) -> str:
        """The docstring."""
        return ast.get_docstring(self.node) or ""


def public(module: str) -> dict[str, str]:
    """Classes in ``__all__`` of a module by name, with their paths."""
    for node in tree(module):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            paths = {name: f"{module}.{name}" for name in ast.literal_eval(node.value)}
            return {name: path for name, path in paths.items() if find(path)}
    return {}


@cache
def is_concrete(path: str, root: str) -> bool:
    """Whether the class at a path derives from another one and defines all its abstract methods."""
    above, defined = list(lineage(path)), set()
    for source in above:
        for node in source.node.body:
            if isinstance(node, ast.FunctionDef) and node.name not in defined:
                if "abstractmethod" in [getattr(decorator, "id", "") for decorator in node.decorator_list]:
                    return False
                defined.add(node.name)
            elif isinstance(node, ast.Assign):  # an attribute takes the place of a property
                defined |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            elif isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
                defined.add(node.target.id)
    return find(root) in above


@cache
def find(path: str) -> Source | None:
    """The class at a path such as ``vae_zoo.models.BetaVAE``, also if the module only imports it."""
    module, _, name = path.rpartition(".")
    for node in tree(module):
        if isinstance(node, ast.ClassDef) and node.name == name:
            return Source(module, node)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in READ:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(f"{node.module}.{alias.name}")
    return None


def lineage(path: str) -> Iterator[Source]:
    """The class and its bases as far as they are read, in the order in which Python looks for methods."""
    kept = {(source.module, source.node.name): source for source in reversed(list(_depth_first(path)))}
    yield from reversed(kept.values())


def _depth_first(path: str) -> Iterator[Source]:
    """The class and its bases, each before its own bases: a base of several is met several times, and counts last."""
    source = find(path)
    if source is None:
        return
    yield source
    for base in source.node.bases:
        found = find(f"{source.module}.{base.id}") if isinstance(base, ast.Name) else None
        if found:
            yield from _depth_first(f"{found.module}.{found.node.name}")


@cache
def arguments(path: str) -> list[Argument]:
    """Arguments of the class at a path: its own first, then those that its ``**kwargs`` pass on to its bases."""
    taken: dict[str, Argument] = {}
    fixed: set[str] = set()
    for source in lineage(path):
        init = next((n for n in source.node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if init is None:
            continue
        for argument in _arguments(init, source):
            if argument.name not in fixed:
                taken.setdefault(argument.name, argument)
        if init.args.kwarg is None:
            break
        fixed |= {keyword.arg for keyword in _passed_on(init) if keyword.arg}
    return list(taken.values())


def attribute(path: str, name: str) -> object:
    """The value of a plain attribute of the class at a path, its own or of the next base that has it; else None."""
    for source in lineage(path):
        for node in source.node.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and getattr(target, "id", "") == name and node.value:
                return ast.literal_eval(node.value)
    return None


def method(path: str, name: str) -> list[str]:
    """Names of the arguments of a method of the class at a path."""
    source = find(path)
    functions = [n for n in source.node.body if isinstance(n, ast.FunctionDef)] if source else []
    return [arg.arg for n in functions if n.name == name for arg in [*n.args.args[1:], *n.args.kwonlyargs]]


def written_keys(path: str, methods: Iterable[str]) -> Iterator[str]:
    """Keys of the dictionaries that methods of the class at a path, or else of its bases, write."""
    for source in lineage(path):
        for function in source.node.body:
            if isinstance(function, ast.FunctionDef) and function.name in methods:
                for node in ast.walk(function):
                    keys = node.keys if isinstance(node, ast.Dict) else []
                    yield from (
                        key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
                    )


@cache
def tree(module: str) -> list[ast.stmt]:
    """The statements of a module, with those for type checkers; none if there is no such file."""
    package, *parts = module.split(".")
    spec = find_spec(package) if package else None  # of a whole package this runs none of its code
    if spec is None or not spec.origin:
        return []
    path = Path(spec.origin).parent.joinpath(*parts)
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            body = ast.parse(file.read_text(encoding="utf-8")).body
            return [n for node in body for n in (node.body if _is_for_checkers(node) else [node])]
    return []


def _is_for_checkers(node: ast.stmt) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _arguments(init: ast.FunctionDef, source: Source) -> Iterator[Argument]:
    args, lines = init.args, described(source.doc) | described(ast.get_docstring(init) or "")
    positional = args.args[1:]
    required = [None] * (len(positional) - len(args.defaults))
    for arg, default in [
        *zip(positional, [*required, *args.defaults], strict=True),
        *zip(args.kwonlyargs, args.kw_defaults, strict=True),
    ]:
        annotation = ast.unparse(arg.annotation) if arg.annotation else ""
        written = ast.unparse(default) if default else None
        line = lines.get(arg.arg, "")
        yield Argument(arg.arg, annotation, written, line, source.node.name, arg in args.kwonlyargs)


def _passed_on(init: ast.FunctionDef) -> list[ast.keyword]:
    """Keywords of the call ``super().__init__(…)``."""
    calls = [node for node in ast.walk(init) if isinstance(node, ast.Call)]
    return [word for call in calls if ast.unparse(call.func) == "super().__init__" for word in call.keywords]
