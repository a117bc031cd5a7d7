"""What torch.hub and conda see of the project."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from helpers import same_weights

import vae_zoo
from vae_zoo import weights

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).parents[1]
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
SIGNATURES = {"docstring_parser", "typeshed_client"}
"""What the extra of jsonargparse adds, which conda has no extras for."""


def test_torch_hub_has_the_packaged_weights() -> None:
    entries = runpy.run_path(str(ROOT / "hubconf.py"))
    shown = {name for name, entry in entries.items() if callable(entry) and not name.startswith("_")}
    assert shown == {"from_pretrained", *weights.names()}
    assert entries["vae_mnist"].__doc__.startswith("MLPVAE: ")
    model: Any = torch.hub.load(str(ROOT), "vae_digits", source="local", verify=True)
    assert same_weights(model, vae_zoo.from_pretrained("vae_digits"))
    assert same_weights(torch.hub.load(str(ROOT), "from_pretrained", "vae_digits", source="local"), model)


def test_the_conda_recipe_asks_for_what_pip_does() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    recipe = yaml.safe_load((ROOT / ".ci" / "conda" / "recipe.yaml").read_text(encoding="utf-8"))
    wanted = {}
    for asked in project["dependencies"]:
        name, bounds = re.fullmatch(r"([\w-]+)(?:\[\w+\])?(.*)", asked).groups()  # type: ignore[union-attr]
        wanted[CONDA.get(name, name)] = bounds
    found = dict(line.split(" ", 1) for line in recipe["requirements"]["run"])
    assert found.pop("python") == project["requires-python"]
    assert set(found) >= SIGNATURES
    assert {name: bounds for name, bounds in found.items() if name not in SIGNATURES} == wanted
    assert recipe["context"]["version"] == project["version"]
    assert recipe["about"]["summary"] == project["description"]
    assert recipe["about"]["license"] == project["license"]
    (script,) = recipe["build"]["python"]["entry_points"]
    assert script == f"vae-zoo = {project['scripts']['vae-zoo']}"
