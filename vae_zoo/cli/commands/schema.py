"""``vae-zoo schema``: a JSON schema of config files, for completion and checks in editors."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable
from typing import Any

from vae_zoo.cli.commands.show import COMPONENTS
from vae_zoo.cli.inspect.options import CALLBACKS, CHOSEN, LINKED, TRAINER, choices, groups
from vae_zoo.cli.inspect.sources import Argument, arguments, public
from vae_zoo.cli.verbs import RUNS, VerbParser

DIALECT = "http://json-schema.org/draft-07/schema#"
PLAIN = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "None": "null"}
SEQUENCES = ("list", "Sequence", "tuple")
ANYTHING: dict[str, Any] = {}


def show(args: list[str]) -> None:
    """Print the schema."""
    VerbParser("schema", "Print a JSON schema of configuration files, for an editor.").parse_args(args)
    print(json.dumps(schema(), indent=1, ensure_ascii=False))


def schema() -> dict[str, Any]:
    """The schema of a configuration of ``fit``, ``validate``, ``test`` or ``predict``."""
    parts = {"trainer": TRAINER, **CALLBACKS}
    keys: dict[str, Any] = {key: ANYTHING for verb in RUNS for key in groups(verb)}
    keys |= {key: fields(arguments(path)) for key, path in parts.items()}
    keys |= {group: selection(choices(group), linked=group == "model") for group in CHOSEN}
    keys |= {"seed_everything": {"type": ["boolean", "integer"], "default": 0}}
    components = {name: path for part in COMPONENTS for name, path in public(f"vae_zoo.{part}").items()}
    return {
        "$schema": DIALECT,
        "title": "Configuration of vae-zoo",
        "definitions": {"component": selection(components)},
        "type": "object",
        "properties": {key: value for key, value in keys.items() if key not in ("c", "config", "print_config")},
        "additionalProperties": False,
    }


def selection(classes: dict[str, str], *, linked: bool = False) -> dict[str, Any]:
    """A class by its name, or by ``class_path`` and ``init_args``, which are checked for classes of the zoo.

    Args:
        classes: Paths of the classes of the zoo, by name.
        linked: Whether to leave out arguments that are linked from the data.
    """
    rules = [
        {
            "if": {"properties": {"class_path": {"enum": [name, path]}}, "required": ["class_path"]},
            "then": {
                "properties": {"init_args": fields(a for a in arguments(path) if not (linked and a.name in LINKED))}
            },
        }
        for name, path in classes.items()
    ]
    name = {"anyOf": [{"enum": [*classes]}, {"type": "string", "pattern": r"\."}]}  # with a dot, anybody's class
    keys = {"class_path": name, "init_args": {"type": "object"}, "dict_kwargs": {"type": "object"}}
    whole = {"type": "object", "properties": keys, "additionalProperties": False, "allOf": rules}
    return {"if": {"type": "string"}, "then": name, "else": whole}


def fields(taken: Iterable[Argument]) -> dict[str, Any]:
    """An object with the arguments of a class; ``name+`` appends to a list."""
    keys = {argument.name: field(argument) for argument in taken}
    return {"type": "object", "properties": keys, "patternProperties": {r"\+$": {}}, "additionalProperties": False}


def field(argument: Argument) -> dict[str, Any]:
    """One argument."""
    found = typed(ast.parse(argument.annotation or "Any", mode="eval").body)
    if argument.line:
        found = {"description": argument.line, **found}
    if argument.default is None:
        return found
    try:
        return {**found, "default": ast.literal_eval(argument.default)}
    except (ValueError, SyntaxError):  # a class
        return found


def typed(node: ast.expr) -> dict[str, Any]:
    """Schema of an annotation; allows anything unless it consists of plain types."""
    written = ast.unparse(node)
    outer, _, _ = written.partition("[")
    if written in PLAIN:
        return {"type": PLAIN[written]}
    if written == "Network" or re.fullmatch(r"Callable\[\[.*\], \w+\]", written):  # not one that makes an nn.Module
        return {"$ref": "#/definitions/component"}
    if isinstance(node, ast.BinOp):
        return _either([node.left, node.right])
    if isinstance(node, ast.Subscript):
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if outer == "Literal":
            return {"enum": [ast.literal_eval(value) for value in inner]}
        if outer in ("Optional", "Union"):
            return _either([*inner, *([ast.Constant(None)] if outer == "Optional" else [])])
        if outer in SEQUENCES:
            return {"type": "array", "items": typed(inner[0])}
    return ANYTHING


def _either(nodes: list[ast.expr]) -> dict[str, Any]:
    found = [typed(node) for node in nodes]
    return {"anyOf": found} if all(found) else ANYTHING
