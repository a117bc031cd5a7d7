"""Classes that a checkpoint or a configuration may name, checked before any import.

A class is resolved if it is one of the zoo, of a package registered as a plug-in, of those parts of torch and Lightning
that runs are configured with, or of a package that the user named on the command line. It must be public, and defined
there: a module of another package is not reached through one that has imported it. What type it must be of is checked
afterwards, by the parser.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Any

from vae_zoo.security.class_paths import LOCAL, PATH, class_paths
from vae_zoo.security.limits import MAX_DEPTH, check_yaml
from vae_zoo.security.plugins import plugins

_ZOO = (
    "models",
    "data",
    "nn",
    "distributions",
    "penalties",
    "callbacks",
    "loggers",
    "checkpoints.CheckpointFiles",
    "checkpoints.files.CheckpointFiles",
    "metrics",
    "evaluation",
    "samplers",
    "testing",
)
_LIGHTNING = ("accelerators", "callbacks", "loggers", "plugins", "profilers", "strategies")
OPEN = (
    *(f"vae_zoo.{part}" for part in _ZOO),
    *("torch.nn", "torch._C._nn", "torch.optim", "torch.distributions", "lightning.pytorch.cli.ReduceLROnPlateau"),
    *("sklearn.ensemble", "sklearn.linear_model"),  # estimators of the metrics
    *(f"lightning.{half}.{part}" for half in ("pytorch", "fabric") for part in _LIGHTNING),
)
"""What any checkpoint and configuration may name."""

CLOSED = ("lightning.pytorch.loggers.CometLogger", "lightning.pytorch.loggers.comet")
"""What is not open within it, because to make one asks a server. A test lists why others that take paths are open."""

FUNCTIONS = ("torch.nn.functional", "torch._C._nn")
"""Where functions are open, and not only classes."""

ADDRESS = re.compile(r"[A-Za-z][\w+.-]*://|[\w+.-]+::|file:", re.ASCII)
"""How an address begins, of whatever kind: ``https://``, ``s3://``, ``file:``, ``simplecache::``."""

LIBRARIES = {"vae_zoo", "torch", "lightning", "sklearn"}
"""Packages of which only some parts are open: to name one of their classes opens no more of them."""

_named: tuple[str, ...] = ()
_by_command = False
_guards: list[tuple[str, ...]] = []
_before: dict[str, Any] = {}
_lock = Lock()


def named() -> list[str]:
    """Packages of the user's own that the command line has named."""
    return [package for package in _named if package not in LIBRARIES]


@contextmanager
def by_command() -> Iterator[None]:
    """Word advice for the command line rather than for Python, including that of errors that end the command."""
    global _by_command
    before, _by_command = _by_command, True
    try:
        yield
    finally:
        _by_command = before


@contextmanager
def trusting(packages: Iterable[str]) -> Iterator[None]:
    """Trust packages that the user has named, within the context.

    The working folder can be imported from only if one is.
    """
    global _named
    before, _named = _named, tuple(sorted(set(packages)))
    added = bool(_named) and "" not in sys.path
    if added:
        sys.path.append("")
    try:
        yield
    finally:
        _named = before
        if added and "" in sys.path:
            sys.path.remove("")


def is_trusted(path: str, more: Iterable[str] = ()) -> bool:
    """Whether a value may name a class or module.

    Args:
        path: Dotted path.
        more: Further packages, modules or classes that may be named.
    """
    if _within(path, _asked(more)):
        return True
    private = [part for part in path.split(".")[1:] if part.startswith("_") and not path.startswith("torch._C._nn.")]
    return _within(path, OPEN) and not _within(path, CLOSED) and not private


def _is_open(cls: Any, path: str) -> bool:
    """Whether a named object may be used, judged by the module that defines it, which may be private."""
    return _within(path, _asked(())) or (
        _within(path, OPEN if inspect.isclass(cls) else FUNCTIONS) and not _within(path, CLOSED)
    )


def import_class(path: str) -> Any:
    """The class at a trusted path: a member of a module, or of a class in a module. None if there is no such class."""
    module, _, name = path.rpartition(".")
    outer, _, cls = module.rpartition(".")
    if _is_module(module):
        return getattr(import_module(module), name, None)
    owner = getattr(import_module(outer), cls, None) if _is_module(outer) else None
    return getattr(owner, name, None) if isinstance(owner, type) else None


def _is_module(path: str) -> bool:
    try:
        return bool(path) and (path in sys.modules or find_spec(path) is not None)
    except (ImportError, ValueError, AttributeError):  # what it should be in is no package, or not there
        return False


def is_never_trusted(path: str) -> bool:
    """Whether a path belongs to Python itself, or to the parser that enforces trust."""
    package = path.partition(".")[0]
    return package in sys.stdlib_module_names or package == "jsonargparse"


def is_closed(path: str) -> bool:
    """Whether naming a path adds no trust: it is never trusted, or belongs to a library that is only partly open."""
    return is_never_trusted(path) or path.partition(".")[0] in LIBRARIES


def advice(path: str) -> str:
    """The reason why a path is refused, and what to do."""
    if _within(path, CLOSED):
        return f"{path} asks a server as soon as it is made: add --trust lightning.pytorch.loggers to have it"
    if is_trusted(path):
        return f"there is no class {path}"
    if is_closed(path):
        return f"{path} is not allowed here"
    if path.startswith("__main__."):
        return f"{path} was defined in a script or notebook, which this is not: move it to a module, and import that"
    package = path.partition(".")[0]
    if _by_command:
        return f"{path} is not trusted: add --trust {package} if you trust its code"
    return f'{path} is not trusted: if you trust its code, give vae_zoo.load(path, trust=["{package}"])'


def check_classes(value: Any, where: str, more: Iterable[str] = ()) -> None:
    """Refuse plain data that name a class that may not be imported or does not exist.

    Args:
        value: Plain data with ``class_path`` in them.
        where: What to call them.
        more: See :func:`is_trusted`.

    Raises:
        ValueError: If they name one.
    """
    more, paths = tuple(more), list(class_paths(value))
    for path in paths:
        if isinstance(path, str) and LOCAL in path:
            name = path.rpartition(".")[2][:100]
            raise ValueError(f"{where}: {name} was defined inside a function: call {name}.load_from_checkpoint(path).")
        if not isinstance(path, str) or not re.fullmatch(PATH, path):
            raise ValueError(f"{where}: {str(path)[:100]} is no path of a class.")
        if not is_trusted(path, more):
            raise ValueError(f"{advice(path)}; {where} names it.")
    for path in paths:
        if import_class(path) is None:
            version = " in this version" if path.startswith("vae_zoo.") else ""
            raise ValueError(f"there is no class {path}{version}; {where} names it.")


def denied(message: str, where: str) -> str:
    """One line for constructor arguments that the parser has refused.

    Args:
        message: The parser's own message, of many lines.
        where: Where the arguments stand.
    """
    if found := re.search(r"Importing '([^']+)' is not allowed", message):
        return f"{advice(found[1])}; {where} names it."
    where_in = place(message).removeprefix("module.")
    if not where_in and (reasons := re.findall(r"^\s*- (.+)$", message, re.MULTILINE)):  # of a union, the first counts
        return f"{where}: {reasons[0].rstrip('.')}."
    return f"{where} holds an argument that does not fit: {where_in or ' '.join(message.split())[:100]}."


def place(message: str) -> str:
    """The argument that a message of the parser is about, as a path of keys; empty if it names none.

    Args:
        message: The parser's own message. Keys at the depth of an earlier one repeat it for another member of a union.
    """
    keys, depth = [], -1
    for found in re.finditer(r'^( *).*Parser key "([^"]+)"', message, re.MULTILINE):
        if len(found[1]) <= depth:
            break
        depth = len(found[1])
        keys.append(found[2])
    return ".".join(keys)


def imported(value: Any) -> list[str]:
    """Classes in plain data that the program has already imported: models, networks, optimizers and schedulers.

    To find them runs no code, and what they are was up to the program.
    """
    from torch import nn, optim

    found = []
    for path in {path for path in class_paths(value) if isinstance(path, str)}:
        module, _, name = path.rpartition(".")
        cls = getattr(sys.modules.get(module), name, None)
        kinds = (nn.Module, optim.Optimizer, optim.lr_scheduler.LRScheduler)
        if isinstance(cls, type) and issubclass(cls, kinds):
            paths = (path, f"{cls.__module__}.{cls.__qualname__}")
            found += [path for path in paths if re.fullmatch(PATH, path) and not is_closed(path)]
    return found


@contextmanager
def guard(*more: str) -> Iterator[None]:
    """Let the parser import only trusted classes and read only YAML within limits.

    The parser's policy is one for the process. So that a program with a parser of its own finds it as it was, it is put
    back when the last guard ends.

    Args:
        more: See :func:`is_trusted`.
    """
    from jsonargparse import get_loader, set_loader, set_parsing_settings
    from jsonargparse._common import parsing_settings  # there is no public way back from a policy

    search_own_path()

    def load(text: str) -> Any:
        if any(mark in text for mark in "&:") or len(text) > 2 * MAX_DEPTH:  # any other is small, and has no keys
            check_yaml(text, "a value")
        return loader(text)

    allowed = tuple(more)
    with _lock:
        if not _guards:
            _before.update(parsing_settings, loader=get_loader("yaml"), swapped=_swap(_stricter()))
        loader = _before["loader"]
        _guards.append(allowed)
    try:
        set_parsing_settings(
            import_path_denylist=["*"],
            import_path_allowlist=[*OPEN, *_asked(())],
            config_read_mode_urls_enabled=False,
            config_read_mode_fsspec_enabled=False,  # which would request an address that stands for a class
            instantiate_subclass_spec_in_any=False,
        )
        set_loader("yaml", load, exceptions=_yaml_errors())
        yield
    finally:
        with _lock:
            _guards.remove(allowed)
            if not _guards:
                set_loader("yaml", _before.pop("loader"), exceptions=_yaml_errors())
                _swap(_before.pop("swapped"))
                parsing_settings.update(_before)
                _before.clear()


def search_own_path() -> None:
    """Make the parser look for stubs on the path of this process instead of starting a Python in the working folder."""
    import typeshed_client

    whole = typeshed_client.get_search_context
    if not hasattr(whole, "own"):

        def own(**kwargs: Any) -> Any:
            path = None if "python_executable" in kwargs else [Path(folder) for folder in sys.path if folder]
            return whole(**{"search_path": path, **kwargs})

        own.own = True  # type: ignore[attr-defined]
        typeshed_client.get_search_context = own


def _stricter() -> dict[tuple[Any, str], Any]:
    """Checks beyond the parser's own policy, which compares prefixes only."""
    from jsonargparse import _common, _optionals, _typehints, _util

    prefixes, defined_at = _common.check_import_path, _util.canonical_import_paths

    def check_named(path: str) -> None:
        prefixes(path)
        if _within(path, _asked(())):
            return  # the parser says what is wrong with a user's own
        if not is_trusted(path) or (import_class(path) is None and not _is_module(path)):
            raise _common.ImportDenied(f"Importing '{path}' is not allowed")

    def check_found(found: Any) -> set[str]:
        for path in defined_at(found):
            if not _is_open(found, path):
                raise _common.ImportDenied(f"Importing '{path}' is not allowed")
        return set()  # none is left to be looked at

    return {
        (_util, "check_import_path"): check_named,
        (_typehints, "check_import_path"): check_named,
        (_util, "canonical_import_paths"): check_found,
        (_optionals, "_config_read_mode"): _optionals._config_read_mode,
    }


def _swap(values: dict[tuple[Any, str], Any]) -> dict[tuple[Any, str], Any]:
    """Set attributes of modules and return their previous values."""
    before = {(module, name): getattr(module, name) for module, name in values}
    for (module, name), value in values.items():
        setattr(module, name, value)
    return before


def _within(path: str, prefixes: Iterable[str]) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in prefixes)


def _asked(more: Iterable[str]) -> tuple[str, ...]:
    """Names opened by the user, by the program or by an installed plug-in."""
    return (*_named, *more, *chain(*_guards), *(entry.module.partition(".")[0] for entry in plugins()))


def _yaml_errors() -> tuple[type[Exception], ...]:
    import yaml

    return (yaml.YAMLError,)
