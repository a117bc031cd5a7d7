"""The registry of weights: a folder with a JSON file for each, plain data that is read without torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).parent
"""Folder of the folders of weights, each with a description and the packaged file."""

HUB = "hf-hub:"
"""What the name of a repository of the Hugging Face Hub begins with."""


class Measured(NamedTuple):
    """A metric of the weights as they are in the file.

    Args:
        value: Mean over test examples.
        error: Standard error of that mean from the choice of examples.
        unit: Unit; empty for shares.
    """

    value: float
    error: float
    unit: str = ""


@dataclass(frozen=True)
class Weights:
    """Weights of a trained model, and everything that is known of them.

    Args:
        name: Name, that of the packaged configuration.
        what: The model in a few words.
        file: A file of the package; or ``hf-hub:user/model``; or an address, ``https://…``.
        sha256: Checksum of the file.
        num_bytes: Its size.
        num_parameters: Number of parameters.
        model: Class and arguments of the model, plain data.
        data: Class and arguments of the data that it was fitted to.
        transforms: What is done to an example before the model sees it.
        metrics: Metrics by name, measured on test examples from the file, after rounding to 16 bits.
        protocol: Split, examples and importance samples of these metrics.
        stored: Number, bound and Monte-Carlo error of the bound of the examples in the file.
        fit: Command, commit, time and hardware of the fit, and releases of torch and Lightning.
        licence: Licence of the weights, and of the data they were fitted to.
    """

    name: str
    what: str
    file: str
    sha256: str
    num_bytes: int
    num_parameters: int
    model: dict[str, Any]
    data: dict[str, Any]
    transforms: str
    metrics: dict[str, Measured]
    protocol: dict[str, Any]
    stored: dict[str, float]
    fit: dict[str, Any]
    licence: dict[str, str]

    @property
    def model_name(self) -> str:
        """Name of the class of the model."""
        return _short(self.model)

    @property
    def data_name(self) -> str:
        """Name of the class of the data, or of that within it."""
        return _short(self.data["init_args"].get("data") or self.data)


def names() -> list[str]:
    """Names of all weights, in alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*/*.json"))


def packaged(name: str, kind: str) -> Path:
    """The file of weights in the package, of the kind ``json`` or ``safetensors``."""
    return FOLDER / name / f"{name}.{kind}"


def find(name: str) -> Weights:
    """The description of weights.

    Raises:
        FileNotFoundError: If there are none of that name, with those of a similar one.
    """
    if name not in names():
        raise FileNotFoundError(unknown(name))
    found = json.loads(packaged(name, "json").read_text(encoding="utf-8"))
    return Weights(**{**found, "metrics": {key: Measured(*value) for key, value in found["metrics"].items()}})


def unknown(name: str) -> str:
    """What to say of a name that no weights have."""
    near = get_close_matches(name, names(), 3, 0.5)
    there = f"there are {', '.join(near)}, and more by" if near else "all are listed by"
    return f"there are no weights {name}; {there} vae-zoo list weights"


def _short(described: dict[str, Any]) -> str:
    return str(described["class_path"]).rpartition(".")[2]
