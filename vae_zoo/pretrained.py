"""Models as weights and plain configuration, in a folder or on the Hugging Face Hub: no pickle anywhere."""

from __future__ import annotations

import json
import re
from argparse import ArgumentError
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lightning.pytorch.cli import instantiate_module

import vae_zoo
from vae_zoo import trust as trusted
from vae_zoo.card import write_card
from vae_zoo.extras import require
from vae_zoo.hparams import Recorded
from vae_zoo.limits import check_plain, read_text
from vae_zoo.models import Autoencoder
from vae_zoo.writing import filling

WEIGHTS, CONFIG = "model.safetensors", "config.json"


def save_pretrained(
    model: Autoencoder, folder: str | Path, *, ckpt_path: str | Path | None = None, name: str = ""
) -> Path:
    """Write a model as ``model.safetensors`` and ``config.json``, with a model card.

    Args:
        model: Model.
        folder: Folder, made if need be; files of these names in it are replaced.
        ckpt_path: Checkpoint that the model is from: its data, and the figures of its run, go into the card.
        name: What the card says the model is loaded by; the folder's own name if not given.

    Returns:
        The folder.

    Raises:
        ImportError: If safetensors is not installed.
        OSError: If the folder cannot be written to.
    """
    safetensors = require("safetensors.torch", "hub", "a model as safetensors")
    folder, origin = Path(folder), _origin(model, ckpt_path)
    config = {"library_name": "vae_zoo", "version": vae_zoo.__version__, "model": model.recorded()}
    config["data"] = _portable(origin.get("data"))
    # Copies, because weights that two modules share are one tensor, which the format does not allow.
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    with filling(folder) as part:
        safetensors.save_file(weights, part / WEIGHTS, metadata={"format": "pt"})
        (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        write_card(model, part, config, origin.get("figures", {}), name or folder.resolve().name)
        (part / WEIGHTS).chmod((part / CONFIG).stat().st_mode)  # which the format keeps to its owner
    return folder


def from_pretrained(
    source: str | Path, *, revision: str | None = None, token: str | None = None, trust: Iterable[str] = ()
) -> Autoencoder:
    """The model of a folder, or of a repository of the Hugging Face Hub, in evaluation mode.

    Classes outside vae_zoo are found if the program has imported them, or if their package is trusted.

    Args:
        source: A folder that :func:`save_pretrained` has written, else the name of a repository, ``user/model``.
        revision: Branch, tag or commit of the repository.
        token: Token of the Hub, for a repository that is private.
        trust: Names of further packages whose modules may be imported.

    Raises:
        FileNotFoundError: If there is no such folder, and it is no name of a repository.
        OSError: If the repository cannot be had.
        ValueError: If the files are damaged, or name a class that is not trusted.
        ImportError: If safetensors or huggingface_hub is not installed.
    """
    folder = Path(source) if Path(source).is_dir() else _download(str(source), revision, token)
    safetensors = require("safetensors.torch", "hub", "a model as safetensors")
    config = _read_config(folder / CONFIG)
    if not (folder / WEIGHTS).is_file():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}.")
    model = build(config["model"], str(folder / CONFIG), trust)
    try:
        weights = safetensors.load_file(folder / WEIGHTS)
    except Exception as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged, or no file of weights: {error}.") from error
    model.on_load_checkpoint({"vae_zoo": {"model": config["model"]}, "state_dict": weights})
    model.load_state_dict(weights)
    return model.eval()


def push_to_hub(
    model: Autoencoder,
    repo_id: str,
    *,
    ckpt_path: str | Path | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "Add the model",
) -> str:
    """Upload a model to the Hugging Face Hub: what :func:`save_pretrained` writes, and nothing else.

    Args:
        model: Model.
        repo_id: Name of the repository, ``user/model``, made if need be.
        ckpt_path: As of :func:`save_pretrained`.
        private: Whether a new repository is private.
        token: Token of the Hub; the one that is stored by its own login if not given.
        message: Message of the commit.

    Returns:
        Address of the commit.

    Raises:
        ImportError: If huggingface_hub or safetensors is not installed.
        OSError: If the Hub cannot be reached, or refuses.
    """
    api = require("huggingface_hub", "hub", "the Hugging Face Hub").HfApi(token=token)
    with TemporaryDirectory() as folder:
        save_pretrained(model, Path(folder) / "model", ckpt_path=ckpt_path, name=repo_id)
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=Path(folder) / "model", commit_message=message))


def build(recorded: dict[str, Any], where: str, trust: Iterable[str] = ()) -> Autoencoder:
    """A model from its class and arguments as plain data.

    Raises:
        ValueError: If they name a class that is not trusted, or one that is no model.
    """
    if not isinstance(recorded.get("class_path"), str) or not isinstance(recorded.get("init_args", {}), dict):
        raise ValueError(f"{where} names no model.")
    more = (*trust, *trusted.imported(recorded))
    trusted.check_classes(recorded, where, more)
    config = {**recorded.get("init_args", {}), "_class_path": recorded["class_path"]}
    with trusted.guard(*more):
        try:
            trusted.import_class(recorded["class_path"])
            return instantiate_module(Autoencoder, config)  # type: ignore[type-abstract]
        except (ArgumentError, ValueError, TypeError, ImportError) as error:
            raise ValueError(trusted.denied(str(error), where)) from error


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} is no model: it has no {path.name}.")
    try:
        config = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no configuration: {error}.") from None
    if not isinstance(config, dict) or not isinstance(config.get("model"), dict):
        raise ValueError(f"{path} is not of vae_zoo: it names no model.")
    check_plain(config, str(path))
    return config


def _download(name: str, revision: str | None, token: str | None) -> Path:
    if not re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", name):
        raise FileNotFoundError(f"there is no folder {name}, and it is no repository's name such as user/model.")
    hub = require("huggingface_hub", "hub", f"there is no folder {name}; the Hugging Face Hub")
    try:
        found = hub.snapshot_download(name, revision=revision, token=token, allow_patterns=[WEIGHTS, CONFIG])
    except Exception as error:
        said = " ".join(str(error).split())
        raise OSError(f"there is no folder {name}, and no such model can be had from the Hub: {said}") from error
    return Path(found)


def _origin(model: Autoencoder, ckpt_path: str | Path | None) -> dict[str, Any]:
    """The data of a model as plain data, and the figures of its run."""
    from vae_zoo.card import figures
    from vae_zoo.hub import read

    if ckpt_path is None or Path(ckpt_path).is_dir():
        data = getattr(model._trainer, "datamodule", None)
        known = _read_config(Path(ckpt_path) / CONFIG).get("data") if ckpt_path else None
        return {"data": data.recorded() if isinstance(data, Recorded) else known}
    checkpoint = read(ckpt_path)
    loop = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.state_dict", {})
    steps = int(loop.get("_batches_that_stepped", checkpoint["global_step"]))  # the latter counts every optimizer's
    return {"data": checkpoint["vae_zoo"].get("data"), "figures": figures(Path(ckpt_path), steps)}


def _portable(data: Any) -> Any:
    """Arguments of data without places on this machine."""
    if not isinstance(data, dict):
        return None
    kept = {
        k: v for k, v in data["init_args"].items() if not (isinstance(v, str) and Path(v).expanduser().is_absolute())
    }
    return {**data, "init_args": kept}
