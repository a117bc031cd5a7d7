"""Models whose prior is replaced by a fitted density."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch

from vae_zoo.models import AE, VQVAE, Autoencoder, PriorAE, TwoStageVAE
from vae_zoo.samplers.codes import CodeDensity
from vae_zoo.samplers.density import Density
from vae_zoo.system.seeding import forked
from vae_zoo.system.tensors import uncompiled


def with_prior(model: Autoencoder, density: Density | CodeDensity) -> Autoencoder:
    """A copy of a model with a fitted density as its prior.

    Bound, evidence, samples, checkpoints and export of the copy are those under the new prior. An :class:`AE` or
    RAE, which has no prior, becomes a :class:`PriorAE`.

    Args:
        model: A trained model.
        density: A density fitted to its latents, or a :class:`CodeDensity` fitted to its codes.

    Returns:
        The copy, on the same device and in the same mode.

    Raises:
        ValueError: If the density is not fitted, is for other latents, or does not suit the model's posterior; or if
            the model's prior cannot be replaced.
    """
    argument, attribute = check_replaceable(model, type(density))
    if not int(density.num_latents):
        raise ValueError(f"{type(density).__name__} is not fitted yet: call its fit with latents of the model.")
    shape = density.grid if isinstance(density, CodeDensity) else density.shape
    wanted: Any = model.code_prior.grid if isinstance(model, VQVAE) else model.latent_shape
    if shape != tuple(wanted):
        raise ValueError(f"{type(density).__name__} is for latents of shape {shape}, the model's are {tuple(wanted)}.")
    cls: Any = PriorAE if isinstance(model, AE) else type(model)
    given = {**model._init_args, **model.changed()}
    given = _of_prior_ae(type(model), given) if isinstance(model, AE) else given
    with forked(0, torch.device("cpu")):  # weights that are replaced at once
        made: Autoencoder = cls(**{**given, argument: partial(type(density), **density.settings)})
    kept = {name: x for name, x in _weights(model).items() if not name.startswith(f"{attribute}.")}
    made.load_state_dict(kept | {f"{attribute}.{name}": x for name, x in density.state_dict().items()})
    made._initialised = True
    return made.to(model.device, model.dtype).train(model.training)


def _of_prior_ae(cls: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a PriorAE that make the networks and the likelihood of a subclass of AE."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        parameters = inspect.signature(base.__init__).parameters if "__init__" in vars(base) else {}  # type: ignore[misc]
        found |= {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    found |= given
    taken = [inspect.signature(base.__init__).parameters for base in PriorAE.__mro__ if "__init__" in vars(base)]  # type: ignore[misc]
    return {name: x for name, x in found.items() if any(name in p for p in taken) and x is not inspect.Parameter.empty}


@torch.no_grad()
def _weights(model: Autoencoder) -> dict[str, torch.Tensor]:
    """Weights as networks compute with them: those of an AE with a spectral norm are divided by it."""
    state, training = model.state_dict(), model.training
    if not isinstance(model, AE):
        return state
    model.eval()  # a norm is estimated anew at each access in training
    for path, module in model.named_modules():
        prefix = uncompiled(path)
        for name in getattr(module, "parametrizations", {}):
            parts = f"{prefix}.parametrizations.{name}."
            state = {key: x for key, x in state.items() if not key.startswith(parts)}
            state[f"{prefix}.{name}"] = getattr(module, name).detach()
    model.train(training)
    return state


def check_replaceable(model: Autoencoder, kind: type) -> tuple[str, str]:
    """Refuse a model whose prior cannot be replaced by a kind of density.

    Returns:
        The argument of the prior, and its attribute.

    Raises:
        ValueError: With the reason.
    """
    owner: Any = model
    cls, name = type(model), type(model).__name__
    if isinstance(model, VQVAE):
        if not issubclass(kind, CodeDensity):
            raise ValueError(f"{name} has discrete codes, which {kind.__name__} is not over: take CodeDensity.")
        if given := "the class" if model.num_classes else "codes of another level" if model.prior_sizes[1] else "":
            raise ValueError(
                f"the prior of {name} depends on {given}, which CodeDensity does not: it cannot be replaced."
            )
        return "code_prior", "code_prior"
    if issubclass(kind, CodeDensity):
        raise ValueError(f"{name} has no discrete codes, which CodeDensity is over: take GMM, or another density.")
    if isinstance(model, AE):
        if own := [
            name for name in ("encode", "decode", "latent_shape") if getattr(cls, name) is not getattr(AE, name)
        ]:
            raise ValueError(f"{name} has its own {own[0]}, which PriorAE lacks: derive it from PriorAE instead of AE.")
        return "prior", "latent_prior"
    if not hasattr(model, "latent_prior"):
        raise ValueError(f"{name} has no prior that could be replaced.")
    fixed: Mapping[str, str] = {key: why for base in cls.__mro__ for key, why in vars(base).get("fixed", {}).items()}
    if isinstance(model, TwoStageVAE):
        fixed = {**fixed, "prior": "it is the second stage"}
    if "prior" in fixed or type(owner.prior()) is not type(owner.latent_prior()):
        why = f": {fixed['prior']}" if "prior" in fixed else ""
        raise ValueError(f"the prior of {name} is part of the model, and cannot be replaced{why}.")
    return "prior", "latent_prior"
