"""Models from checkpoints, shared folders and repositories."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vae_zoo.checkpoints.folders import CONFIG, download, read_folder
from vae_zoo.checkpoints.load import read, restore
from vae_zoo.export.pretrained import push_to_hub, save_pretrained
from vae_zoo.models import Autoencoder

__all__ = ["from_pretrained", "load", "push_to_hub", "read", "save_pretrained"]


def load(path: str | Path, *, trust: Iterable[str] = ()) -> Autoencoder:
    """The model of a checkpoint, of any class, in evaluation mode.

    Nothing in the file is executed. Classes that it names must belong to vae_zoo, to torch's networks and
    optimizers, to a plug-in or to a trusted package, or have been imported by the program.

    Args:
        path: Checkpoint of a fit, or folder of :func:`save_pretrained`.
        trust: Names of further packages whose modules may be imported.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint of vae_zoo, or names a class that is not trusted.

    Example:
        >>> model = vae_zoo.load("model.ckpt")  # doctest: +SKIP
    """
    if Path(path).is_dir():
        return from_pretrained(path, trust=trust)
    model: Autoencoder = restore(Autoencoder, read(path), str(path), trust)
    return model.eval()


def from_pretrained(
    source: str | Path, *, revision: str | None = None, token: str | None = None, trust: Iterable[str] = ()
) -> Autoencoder:
    """The model of a folder, or of a repository of the Hugging Face Hub, in evaluation mode.

    Classes outside vae_zoo must have been imported by the program, or belong to a trusted package.

    Args:
        source: Folder of :func:`save_pretrained`, or name of a repository, ``user/model``.
        revision: Branch, tag or commit of the repository.
        token: Token of the Hub, for a private repository.
        trust: Names of further packages whose modules may be imported.

    Raises:
        FileNotFoundError: If there is no such folder, and the name is not that of a repository.
        OSError: If the repository cannot be fetched.
        ValueError: If the files are damaged, or name a class that is not trusted.
        ImportError: If safetensors or huggingface_hub is not installed.
    """
    folder = Path(source) if Path(source).is_dir() else download(str(source), revision, token)
    model: Autoencoder = restore(Autoencoder, read_folder(folder), str(folder / CONFIG), trust)
    return model.eval()
