"""Models as weights and plain configuration, without pickles, in a folder or on the Hugging Face Hub."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import vae_zoo
from vae_zoo.checkpoints.folders import CONFIG, WEIGHTS, read_config
from vae_zoo.checkpoints.hyperparameters import Recorded
from vae_zoo.checkpoints.load import read
from vae_zoo.elbo import post_hoc_prior
from vae_zoo.export.card import validation_metrics, write_card
from vae_zoo.system.extras import require
from vae_zoo.system.writing import replacing_folder
from vae_zoo.training.saved import class_names
from vae_zoo.training.trainers import trainer_of

if TYPE_CHECKING:
    from vae_zoo.models import Autoencoder


def save_pretrained(
    model: Autoencoder, folder: str | Path, *, ckpt_path: str | Path | None = None, name: str = ""
) -> Path:
    """Write a model as ``model.safetensors`` and ``config.json``, with a model card.

    Args:
        model: Model.
        folder: Folder, created if necessary; files with these names in it are replaced.
        ckpt_path: Checkpoint of the model, whose data and metrics go into the card.
        name: Name that the card loads the model by; by default the name of the folder.

    Returns:
        The folder.

    Raises:
        OSError: If the folder cannot be written to.
        ValueError: If the model has changed since it was built, so that it could not be loaded; if the
            folder holds a config.json that is that of no model.
    """
    from safetensors.torch import save_file

    model.check_changes()
    folder, origin = Path(folder), _origin(model, ckpt_path)
    config = {"library_name": "vae_zoo", "version": vae_zoo.__version__, "model": model.recorded()}
    config["data"] = portable(origin.get("data"))
    if origin.get("classes"):
        config["classes"] = origin["classes"]
    if model.latent_scale is not None:
        config["latents"] = model.latent_scale._asdict()
    # Copies, because weights that two modules share are one tensor, which the format does not allow.
    if (folder / CONFIG).exists() and "vae_zoo" not in (folder / CONFIG).read_text(encoding="utf-8", errors="replace"):
        raise ValueError(f"{folder / CONFIG} is there already, and is that of no model: give another folder.")
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in model.state_dict().items()}
    with replacing_folder(folder) as part:
        save_file(weights, part / WEIGHTS, metadata={"format": "pt"})
        (part / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        write_card(model, part, config, origin.get("figures", {}), name or folder.resolve().name)
        (part / WEIGHTS).chmod((part / CONFIG).stat().st_mode)  # which the format keeps to its owner
    return folder


def push_to_hub(
    model: Autoencoder,
    repo_id: str,
    *,
    ckpt_path: str | Path | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = "Add the model",
) -> str:
    """Upload the files of :func:`save_pretrained`, and no others, to the Hugging Face Hub.

    Args:
        model: Model.
        repo_id: Name of the repository, ``user/model``, created if necessary.
        ckpt_path: As in :func:`save_pretrained`.
        private: Whether a new repository is private.
        token: Token of the Hub; by default the one stored by its login.
        message: Message of the commit.

    Returns:
        Address of the commit.

    Raises:
        ImportError: If huggingface_hub is not installed.
        OSError: If the Hub cannot be reached, or refuses the upload.
    """
    api = require("huggingface_hub", "hub", "the Hugging Face Hub").HfApi(token=token)
    with TemporaryDirectory() as folder:
        save_pretrained(model, Path(folder) / "model", ckpt_path=ckpt_path, name=repo_id)
        api.create_repo(repo_id, private=private, exist_ok=True)
        return str(api.upload_folder(repo_id=repo_id, folder_path=Path(folder) / "model", commit_message=message))


def _origin(model: Autoencoder, ckpt_path: str | Path | None) -> dict[str, Any]:
    """The data of a model and their classes as plain data, and the metrics of its run."""
    if ckpt_path is None or Path(ckpt_path).is_dir():
        trainer = trainer_of(model)
        data = getattr(trainer, "datamodule", None)
        if isinstance(data, Recorded) and data.recordable:
            return {"data": data.recorded(), "classes": class_names(data)}
        if ckpt_path:
            return read_config(Path(ckpt_path) / CONFIG)
        return {} if trainer else {"data": model.loaded_data, "classes": model.loaded_classes}
    checkpoint = read(ckpt_path)
    loop = checkpoint.get("loops", {}).get("fit_loop", {}).get("epoch_loop.state_dict", {})
    if post_hoc_prior(model):  # the metrics of the run are those under the prior before
        return dict(checkpoint["vae_zoo"])
    steps = int(loop.get("_batches_that_stepped", checkpoint["global_step"]))  # the latter counts every optimizer's
    return {**checkpoint["vae_zoo"], "figures": validation_metrics(Path(ckpt_path), steps)}


def portable(data: Any) -> Any:
    """Arguments of data without paths on this machine."""
    if not isinstance(data, dict):
        return None
    kept = {
        k: portable(v) if isinstance(v, dict) and "init_args" in v else v
        for k, v in data["init_args"].items()
        if not (isinstance(v, str) and Path(v).expanduser().is_absolute())
    }
    return {**data, "init_args": kept}
