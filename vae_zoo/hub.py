"""Models from checkpoints, and from folders and repositories that they are shared by."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vae_zoo.checkpoints.folders import CONFIG, download, read_folder
from vae_zoo.checkpoints.load import read, restore
from vae_zoo.export.pretrained import push_to_hub, save_pretrained
from vae_zoo.models import Autoencoder

__all__ = ["from_pretrained", "load", "push_to_hub", "read", "save_pretrained"]


def load(path: str | Path, *, trust: Iterable[str] = ()) -> Autoencoder:
    """The model of a checkpoint, in evaluation mode, whatever its class.

    Nothing in the file is executed. A class that it names is taken if it is one of vae_zoo, of torch's networks and
    optimizers or of a plug-in, if the program has imported it, or if its package is trusted.

    Args:
        path: A checkpoint that a fit has written, or a folder of :func:`save_pretrained`.
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
    folder = Path(source) if Path(source).is_dir() else download(str(source), revision, token)
    model: Autoencoder = restore(Autoencoder, read_folder(folder), str(folder / CONFIG), trust)
    return model.eval()
