"""Models whose prior is replaced by a fitted density."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from vae_zoo.models import AE, VAE, VQVAE, Autoencoder, PriorAE
from vae_zoo.samplers.codes import CodeDensity
from vae_zoo.samplers.density import Density
from vae_zoo.system.seeding import forked


def with_prior(model: Autoencoder, density: Density | CodeDensity) -> Autoencoder:
    """A copy of a model with a fitted density as its prior.

    Bound, evidence, samples, checkpoints and export of the copy are those under the new prior. An :class:`AE`, which
    has none, becomes a :class:`PriorAE`.

    Args:
        model: A trained model.
        density: A density fitted to its latents, or a :class:`CodeDensity` fitted to its codes.

    Returns:
        The copy, on the same device and in the same mode.

    Raises:
        ValueError: If the density is not fitted, is of other latents, or does not go with the model's posterior; or if
            the model's prior cannot be replaced.
    """
    argument, attribute = check_replaceable(model, type(density))
    if not int(density.num_latents):
        raise ValueError(f"{type(density).__name__} is not fitted yet: call its fit with latents of the model.")
    shape = density.grid if isinstance(density, CodeDensity) else density.shape
    wanted: Any = model.grid if isinstance(model, VQVAE) else model.latent_shape
    if shape != tuple(wanted):
        raise ValueError(f"{type(density).__name__} is of latents of shape {shape}, the model's are {tuple(wanted)}.")
    cls: Any = PriorAE if type(model) is AE else type(model)
    given = {**model._init_args, **model.changed(), argument: partial(type(density), **density.settings)}
    with forked(0, torch.device("cpu")):  # weights that are replaced at once
        made: Autoencoder = cls(**given)
    kept = {name: x for name, x in model.state_dict().items() if not name.startswith(f"{attribute}.")}
    made.load_state_dict(kept | {f"{attribute}.{name}": x for name, x in density.state_dict().items()})
    made._initialised = True
    return made.to(model.device, model.dtype).train(model.training)


def check_replaceable(model: Autoencoder, kind: type) -> tuple[str, str]:
    """Refuse a model whose prior cannot be replaced by a kind of density.

    Returns:
        The argument of the prior, and its attribute.

    Raises:
        ValueError: With the reason.
    """
    cls, name = type(model), type(model).__name__
    if isinstance(model, VQVAE):
        if not issubclass(kind, CodeDensity):
            raise ValueError(f"{name} has discrete codes, which {kind.__name__} is not over: take CodeDensity.")
        return "code_prior", "code_prior"
    if issubclass(kind, CodeDensity):
        raise ValueError(f"{name} has no discrete codes, which CodeDensity is over: take GMM, or another density.")
    if cls is AE:
        return "prior", "latent_prior"
    if not hasattr(model, "latent_prior"):
        raise ValueError(f"{name} has no prior that could be replaced.")
    fixed: Mapping[str, str] = {key: why for base in cls.__mro__ for key, why in vars(base).get("fixed", {}).items()}
    if "prior" in fixed or getattr(cls, "prior", None) not in (VAE.prior, PriorAE.prior):
        why = f": {fixed['prior']}" if "prior" in fixed else ""
        raise ValueError(f"the prior of {name} is part of the model, and cannot be replaced{why}.")
    return "prior", "latent_prior"
