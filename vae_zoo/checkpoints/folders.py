"""Folders of weights and plain configuration, local or on the Hugging Face Hub, without any pickle."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from vae_zoo.checkpoints.load import as_lightning_has_it, check_class_names
from vae_zoo.security.limits import check_plain, read_text
from vae_zoo.system.extras import require

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def read_folder(folder: Path) -> dict[str, Any]:
    """The content of a folder in the form of a checkpoint.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is damaged, or names no model.
    """
    from safetensors.torch import load_file

    config = read_config(folder / CONFIG)
    model = config["model"]
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}.")
    if not isinstance(model.get("class_path"), str) or not isinstance(model.get("init_args", {}), dict):
        raise ValueError(f"{folder / CONFIG} names no model.")
    try:
        weights = load_file(folder / WEIGHTS)
    except Exception as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged, or no file of weights: {error}.") from error
    about = {"model": model, **{key: config.get(key) for key in ("data", "classes", "latents")}}
    return {"hyper_parameters": as_lightning_has_it(model), "vae_zoo": about, "state_dict": weights}


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a folder, as plain data.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not JSON, names no model, or has classes that are no labels.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is no model: it has no {path.name}.")
    try:
        config = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no configuration: {error}.") from None
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ValueError(f"{path} is not of vae_zoo: it names no model.")
    check_plain(config, str(path))
    check_class_names(config.get("classes"), str(path))
    return config


def is_repository(name: str) -> bool:
    """Whether a text may be the name of a repository, ``user/model``."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name) is not None


def download(name: str, revision: str | None = None, token: str | None = None) -> Path:
    """The folder of a repository of the Hugging Face Hub, in the cache of the Hub's library.

    Raises:
        FileNotFoundError: If it is no name of a repository.
        OSError: If it cannot be had.
        ImportError: If huggingface_hub is not installed.
    """
    if not is_repository(name):
        raise FileNotFoundError(f"there is no folder {name}, and it is no repository's name such as user/model.")
    hub = require("huggingface_hub", "hub", f"there is no folder {name}; the Hugging Face Hub")
    try:
        found = hub.snapshot_download(name, revision=revision, token=token, allow_patterns=[WEIGHTS, CONFIG])
    except Exception as error:
        said = " ".join(str(error).split())
        raise OSError(f"there is no folder {name}, and no such model can be had from the Hub: {said}") from error
    return Path(found)
