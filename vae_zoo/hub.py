"""Models from checkpoints, shared folders and repositories."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vae_zoo import weights
from vae_zoo.checkpoints.folders import CONFIG, download, is_repository, read_folder
from vae_zoo.checkpoints.load import read, restore
from vae_zoo.export.pretrained import push_to_hub, save_pretrained
from vae_zoo.models import Autoencoder
from vae_zoo.weights.files import load_weights

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
    source: str | Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    verify: bool = False,
    trust: Iterable[str] = (),
) -> Autoencoder:
    """The model of weights of the package, of a folder, or of a repository of the Hugging Face Hub, in evaluation mode.

    The file of weights of the package must have the checksum of the registry, :func:`vae_zoo.weights.find`.

    Classes outside vae_zoo must have been imported by the program, or belong to a trusted package.

    Args:
        source: Folder of :func:`save_pretrained`; or name of weights of the package, such as ``vae_mnist``; or name of
            a repository, ``hf-hub:user/model`` or ``user/model``. A folder comes first.
        revision: Branch, tag or commit of the repository.
        token: Token of the Hub, for a private repository.
        verify: Whether weights of the package must give the bound on their stored examples that the registry states.
        trust: Names of further packages whose modules may be imported.

    Raises:
        FileNotFoundError: If there is no such folder, and the name is neither that of weights nor of a repository.
        OSError: If the repository cannot be fetched.
        ValueError: If the files are damaged or altered, name a class that is not trusted, or give another bound.
        ImportError: If huggingface_hub is not installed.

    Example:
        >>> import vae_zoo
        >>> vae_zoo.from_pretrained("vae_mnist").sample(4).shape
        torch.Size([4, 1, 28, 28])
    """
    name, here = str(source).removeprefix(weights.HUB), Path(source).is_dir()
    if not here and name == str(source) and not is_repository(name):
        if name not in weights.names():
            what = weights.unknown(name)
            raise FileNotFoundError(
                f"there is no folder {name}, it is no repository's name such as user/model, and {what}"
            )
        return load_weights(name, verify=verify, trust=trust)
    if verify:
        raise ValueError(f"verify compares weights of the package with their registry, which {source} is not in.")
    folder = Path(source) if here else download(name, revision, token)
    model: Autoencoder = restore(Autoencoder, read_folder(folder), str(folder / CONFIG), trust)
    return model.eval()
