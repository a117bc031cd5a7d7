from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from vae_zoo.cli import packaged
from vae_zoo.cli.commands.schema import schema

TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
ANNOTATIONS = {"$schema", "title", "description", "default", "definitions", "then", "else", "patternProperties"}


def allows(rule: dict[str, Any], value: Any, root: dict[str, Any]) -> bool:
    """As much of the standard as the schema uses, and an error for a keyword beyond that."""
    if "$ref" in rule:
        return allows(root["definitions"][rule["$ref"].rpartition("/")[2]], value, root)
    checks = {
        "type": lambda want: any(_is(value, name) for name in ([want] if isinstance(want, str) else want)),
        "enum": lambda want: value in want,
        "pattern": lambda want: not isinstance(value, str) or re.search(want, value) is not None,
        "items": lambda want: not isinstance(value, list) or all(allows(want, item, root) for item in value),
        "required": lambda want: not isinstance(value, dict) or set(want) <= set(value),
        "properties": lambda want: (
            not isinstance(value, dict) or all(allows(want[key], v, root) for key, v in value.items() if key in want)
        ),
        "additionalProperties": lambda want: not isinstance(value, dict) or all(_known(rule, key) for key in value),
        "anyOf": lambda want: any(allows(one, value, root) for one in want),
        "allOf": lambda want: all(allows(one, value, root) for one in want),
        "if": lambda want: allows(rule.get("then" if allows(want, value, root) else "else", {}), value, root),
    }
    return all(checks[key](want) for key, want in rule.items() if key not in ANNOTATIONS)


def _is(value: Any, name: str) -> bool:
    if name in ("integer", "number"):
        return isinstance(value, (int, float) if name == "number" else int) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def _known(rule: dict[str, Any], key: str) -> bool:
    return key in rule["properties"] or any(re.search(text, key) for text in rule.get("patternProperties", {}))


WHOLE = schema()


def test_it_is_printed_as_json(run: Callable) -> None:
    assert json.loads(run("schema").out) == json.loads(json.dumps(WHOLE))


@pytest.mark.parametrize("name", sorted(packaged()))
def test_packaged_configurations_are_allowed(name: str) -> None:
    assert allows(WHOLE, yaml.safe_load(packaged()[name].read_text()), WHOLE)


@pytest.mark.parametrize(
    "text",
    [
        "model: my_vae.MyVAE",
        "model: {class_path: my_vae.MyVAE, init_args: {gamma: 3}}",
        "model: {init_args: {gamma: 3}}",
        "model: {class_path: vae_zoo.models.BetaVAE, init_args: {beta: 3, optimizer: torch.optim.AdamW}}",
        "model: {class_path: VAE, init_args: {encoder: {class_path: Dense, init_args: {activation: ELU}}}}",
        "model: {class_path: VAE, init_args: {encoder: my_nets.Net}}",
        "trainer: {callbacks+: [LinearAnnealing], devices: 2, max_time: '00:01:00:00', precision: bf16-mixed}",
        "ckpt_path: last",
    ],
)
def test_allowed(text: str) -> None:
    assert allows(WHOLE, yaml.safe_load(text), WHOLE)


@pytest.mark.parametrize(
    "text",
    [
        "modle: BetaVAE",
        "model: BetaVEA",
        "model: {class_path: BetaVAE, init_args: {betaa: 3}}",
        "model: {class_path: BetaVAE, init_args: {beta: four}}",
        "model: {class_path: vae_zoo.models.BetaVAE, init_args: {betaa: 3}}",
        "model: {class_path: VAE, init_args: {encoder: Densee}}",
        "model: {class_path: VAE, init_args: {encoder: {class_path: Dense, init_args: {hiden: [3]}}}}",
        "model: {class_path: VAE, init_args: {encoder: {class_path: Dense, init_args: {hidden: [wide]}}}}",
        "model: {class_path: VAE, init_args: {shape: [1, 8, 8]}}",
        "data: {class_path: Digits, init_args: {batch_sise: 3}}",
        "trainer: {max_epoch: 3}",
        "trainer: {max_epochs: many}",
        "evidence: {num_sample: 3}",
    ],
)
def test_refused(text: str) -> None:
    assert not allows(WHOLE, yaml.safe_load(text), WHOLE)
