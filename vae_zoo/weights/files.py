"""Files of weights: found or fetched, checked, loaded, and measured again."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vae_zoo.checkpoints.folders import WEIGHTS, download
from vae_zoo.checkpoints.load import as_lightning_has_it, restore
from vae_zoo.data.base.paths import cache_root
from vae_zoo.elbo import ELBOMixin
from vae_zoo.models import Autoencoder
from vae_zoo.system.seeding import forked
from vae_zoo.system.writing import replacing
from vae_zoo.weights import registry
from vae_zoo.weights.registry import HUB, Weights, find

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLE = "example/"
"""What the names of the stored examples begin with, ``example/x`` and ``example/c``."""

NUM_SAMPLES, SEED = 200, 0
"""Draws of q(z|x) for the bound of the stored examples, and their seed."""

ERRORS, ROUNDING = 5.0, 1e-4
"""How far a bound may be from the stored one: in Monte-Carlo errors, plus a share of it for other arithmetic."""


def load_weights(name: str, *, verify: bool = False, trust: Iterable[str] = ()) -> Autoencoder:
    """The model of weights of the registry, in evaluation mode and in float32.

    Args:
        name: Name of the weights.
        verify: Whether to measure the bound of the stored examples again, and to compare it with the stored one.
        trust: Names of further packages whose modules may be imported.

    Raises:
        FileNotFoundError: If there are no weights of that name.
        OSError: If a file outside the package cannot be fetched.
        ValueError: If the file has been altered, or gives another bound.
    """
    weights = find(name)
    tensors = read(weights)
    model = built(weights, tensors, trust)
    if verify:
        check_bound(model, weights, *stored(tensors))
    return model


def built(weights: Weights, tensors: dict[str, Tensor], trust: Iterable[str] = ()) -> Autoencoder:
    """The model of tensors that have been read, in evaluation mode."""
    state = {key: value for key, value in tensors.items() if not key.startswith(EXAMPLE)}
    about = {"model": weights.model, "data": weights.data}
    content = {"hyper_parameters": as_lightning_has_it(weights.model), "vae_zoo": about, "state_dict": state}
    model: Autoencoder = restore(Autoencoder, content, f"the weights {weights.name}", trust)
    return model.eval()


def read(weights: Weights) -> dict[str, Tensor]:
    """The tensors of a file, whose checksum is that of the registry; floating-point ones in float32.

    Raises:
        OSError: If it cannot be fetched.
        ValueError: If it has been altered.
    """
    from safetensors.torch import load

    content = located(weights).read_bytes()
    if hashlib.sha256(content).hexdigest() != weights.sha256:
        raise ValueError(f"the file of the weights {weights.name} has been altered: its SHA-256 is another one.")
    return {key: value.float() if value.is_floating_point() else value for key, value in load(content).items()}


def located(weights: Weights) -> Path:
    """The file of weights on this machine; one that is not in the package is fetched once.

    Raises:
        OSError: If it cannot be fetched.
    """
    if weights.file.startswith(HUB):
        return download(weights.file.removeprefix(HUB)) / WEIGHTS
    if weights.file.startswith("https://"):
        return _fetched(weights)
    return registry.FOLDER / weights.name / weights.file


def stored(tensors: dict[str, Tensor]) -> tuple[Tensor, Tensor | None]:
    """The examples in a file, as the model takes them, and their conditions."""
    x, c = (tensors.get(f"{EXAMPLE}{name}") for name in ("x", "c"))
    assert x is not None
    return x.float(), c


@torch.no_grad()
def bound(model: Autoencoder, x: Tensor, c: Tensor | None = None) -> tuple[float, float]:
    """The mean bound of examples in nats, and its Monte-Carlo error.

    Args:
        model: A model with a bound.
        x: Examples, (B, \\*shape).
        c: Their conditions.
    """
    with forked(SEED, x.device):
        if not isinstance(model, ELBOMixin):  # codes: nothing is drawn
            return float(model.losses(x, c)["elbo"]), 0.0
        terms = model.elbo(x, c, num_samples=NUM_SAMPLES)
    draws = (terms.log_px - terms.kl).mean(1).double()
    return float(draws.mean()), float(draws.std()) / math.sqrt(NUM_SAMPLES)


def check_bound(model: Autoencoder, weights: Weights, x: Tensor, c: Tensor | None) -> float:
    """Compare the bound of the stored examples with the stored one, and return it.

    Raises:
        ValueError: If it is another one, beyond Monte-Carlo error.
    """
    value, error = bound(model, x.to(model.device), None if c is None else c.to(model.device))
    expected = weights.stored["bound"]
    allowed = ERRORS * max(error, weights.stored["error"]) + ROUNDING * abs(expected)
    if not abs(value - expected) <= allowed:
        raise ValueError(
            f"the weights {weights.name} give a bound of {value:.2f} nats on their stored examples, and not "
            f"{expected:.2f} ± {allowed:.2f}: they are not used as they were measured."
        )
    return value


def _fetched(weights: Weights) -> Path:
    """A file from an address, in the cache under its checksum."""
    from urllib.request import urlopen

    path = cache_root() / "weights" / f"{weights.sha256}.safetensors"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urlopen(weights.file, timeout=60) as answer:
            content = answer.read(weights.num_bytes + 1)
    except OSError as error:
        raise OSError(f"the weights {weights.name} cannot be fetched from {weights.file}: {error}") from error
    if hashlib.sha256(content).hexdigest() != weights.sha256:
        raise ValueError(f"what {weights.file} gives is not the weights {weights.name}: its SHA-256 is another one.")
    with replacing(path) as part:
        part.write_bytes(content)
    return path
