"""Samples of models that can generate, and errors for those that cannot."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vae_zoo.distributions import check_temperature
from vae_zoo.distributions.temperature import check_layers
from vae_zoo.elbo import has_density
from vae_zoo.system.seeding import forked

CHUNK = 256
"""Number of samples drawn and decoded at once, fixed so that results depend only on the seed."""


def generate(
    model: Any,
    num: int,
    *,
    label: int | None = None,
    cluster: int | None = None,
    temperature: float | Sequence[float] = 1.0,
    shares: bool = False,
    mean: bool = True,
    seed: int = 0,
) -> tuple[Tensor, Tensor | None]:
    r"""Draw samples from the model's own prior and return all of them: see :func:`draw`.

    Returns:
        Samples, (num, \*shape), and their classes, (num,), or None for an unconditional model.
    """
    asked: dict[str, Any] = {"label": label, "cluster": cluster, "temperature": temperature, "shares": shares}
    x, c = zip(*draw(model, num, **asked, mean=mean, seed=seed), strict=True)
    return torch.cat(x), None if c[0] is None else torch.cat(c)


def draw(
    model: Any,
    num: int,
    *,
    label: int | None = None,
    cluster: int | None = None,
    temperature: float | Sequence[float] = 1.0,
    shares: bool = False,
    mean: bool = True,
    seed: int = 0,
) -> Iterator[tuple[Tensor, Tensor | None]]:
    r"""Draw samples from the model's own prior in chunks: the means of p(x|z) at its draws, or draws of p(x|z).

    Class-conditional models sample all classes in turn if no class is chosen.

    Args:
        model: A model of the zoo.
        num: Number of samples.
        label: Class to sample, for a class-conditional model.
        cluster: Cluster to sample, for a model with clusters.
        temperature: Factor on the spread of the prior, see :func:`~vae_zoo.distributions.tempered`, or one for each
            layer of latents, the lowest first; divides the logits of a prior over codes.
        shares: Whether to draw classes with their shares in the training data, instead of all in turn.
        mean: Whether to return means of p(x|z) or draws from it.
        seed: Seed of the draws.

    Returns:
        Samples, (B, \*shape), and their classes, (B,), or None for an unconditional model, for :data:`CHUNK`
        samples at a time.

    Raises:
        ValueError: If the model cannot generate, has no such class, cluster, temperature or layers, or no density to
            draw from.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}.")
    check_temperature(temperature)
    sample, classes = sampler(model), num_classes(model)
    _check_layers(model, temperature)
    _check_choice(model, label, cluster, shares)
    given: dict[str, Any] = {} if temperature == 1 else {"temperature": temperature}
    if given and not _takes(sample, "temperature"):
        raise ValueError(f"{type(model).__name__} has a sample of its own that takes no temperature: leave it at 1.")
    if not mean:
        require_draws(model)
        if not _takes(sample, "mean"):
            raise ValueError(f"{type(model).__name__} has a sample of its own that gives one kind: leave draw out.")
        given = {**given, "mean": False}
    given |= {} if cluster is None else {"cluster": cluster}
    classes_of: Callable[[Tensor], Tensor] | None = None
    if label is not None:
        classes_of = partial(torch.full_like, fill_value=label)
    elif shares:
        if not (_takes(sample, "shares") and classes):
            raise ValueError(f"{type(model).__name__} keeps no shares of classes: leave shares out.")
        classes_of = _shared(model)
    elif getattr(model, "num_classes", None):
        classes_of = partial(torch.remainder, other=classes)
    return _draws(sample, num, model.device, classes_of, seed, given)


def _check_choice(model: Any, label: int | None, cluster: int | None, shares: bool) -> None:
    """Refuse a class or a cluster that a model does not have."""
    check_class(model, label)
    if label is not None and shares:
        raise ValueError(f"class {label} and shares exclude each other: leave one out.")
    clusters = getattr(model, "num_clusters", 0)
    if cluster is not None and not 0 <= cluster < clusters:
        known = f"cluster must lie in 0 .. {clusters - 1}" if clusters else f"{type(model).__name__} has no clusters"
        raise ValueError(f"{known}, got cluster {cluster}.")


def check_class(model: Any, label: int | None) -> None:
    """Refuse a class that a model does not have.

    Raises:
        ValueError: With what it has.
    """
    classes = num_classes(model)
    if label is not None and not classes:
        raise ValueError(f"{type(model).__name__} knows no classes, got class {label}: leave it out.")
    if label is not None and not 0 <= label < classes:
        raise ValueError(f"class must lie in 0 .. {classes - 1}, got {label}.")


def _check_layers(model: Any, temperature: float | Sequence[float]) -> None:
    """Refuse several temperatures for a model without layers, or with another number of them."""
    if not isinstance(temperature, (int, float)):
        layers = getattr(model, "latent_dims", ())
        if not layers:
            raise ValueError(f"temperature: {type(model).__name__} has no layers of latents, give one number.")
        check_layers(temperature, len(layers))


def require_draws(model: Any) -> None:
    """Refuse to draw from p(x|z) of a model whose likelihood is an energy or a point.

    Raises:
        ValueError: If there is no density.
    """
    if not has_density(model):
        name = type(model.likelihood).__name__
        raise ValueError(f"draw sample: {name} has no density to draw from, only a mean: leave draw out.")


def _shared(model: Any) -> Callable[[Tensor], Tensor]:
    return lambda at: model.draw_classes(len(at)).cpu()


def chunks(num: int) -> Iterator[Tensor]:
    """The numbers 0 to num - 1, :data:`CHUNK` at a time; one empty chunk if num is 0."""
    yield from (torch.arange(n, min(n + CHUNK, num)) for n in range(0, max(num, 1), CHUNK))


def _draws(
    sample: Callable[..., Tensor],
    num: int,
    device: torch.device,
    classes_of: Callable[[Tensor], Tensor] | None,
    seed: int,
    given: dict[str, Any],
) -> Iterator[tuple[Tensor, Tensor | None]]:
    with forked(seed, device):
        for at in chunks(num):
            c = None if classes_of is None else classes_of(at)
            with torch.no_grad():
                x = sample(len(at), None if c is None else c.to(device), **given)
            yield x, c


def sampler(model: Any) -> Callable[..., Tensor]:
    """The method that draws samples.

    Raises:
        ValueError: If the model has none.
    """
    found = getattr(model, "sample", None)
    if found is None:
        name = type(model).__name__
        raise ValueError(
            f"{name} cannot generate: it has no prior p(z), so that a random latent decodes to nothing in particular; "
            "fit a VAE of the same networks."
        )
    if getattr(model, "condition_sizes", None):
        raise ValueError(
            f"{type(model).__name__} samples under conditions of {len(model.condition_sizes)} values, and has no "
            "classes to go through: call model.sample(num, c) in Python."
        )
    return found


def can_generate(model: Any) -> bool:
    """Whether there is a prior to sample from, under no condition or a class."""
    return hasattr(model, "sample") and not getattr(model, "condition_sizes", None)


def num_classes(model: Any) -> int:
    """Number of classes that can be sampled; 0 for an unconditional model."""
    own, prior = getattr(model, "num_classes", None), getattr(model, "latent_prior", None)
    return own or getattr(prior, "num_classes", None) or 0


def _takes(function: Callable[..., Any], name: str) -> bool:
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())
