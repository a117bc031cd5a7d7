"""Priors whose spread is multiplied by a temperature."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial, singledispatch
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily

from vae_zoo.distributions.ball.riemannian_normal import Riemannian
from vae_zoo.distributions.ball.wrapped_normal import Wrapped
from vae_zoo.distributions.flows.autoregressive import Flow
from vae_zoo.distributions.hierarchical import Hierarchical
from vae_zoo.distributions.labelled import Labelled
from vae_zoo.distributions.latents.categories import OneHot
from vae_zoo.distributions.latents.parts import Parts
from vae_zoo.distributions.location_scale import CholeskyNormal, Laplace
from vae_zoo.distributions.mixture import Mixture
from vae_zoo.distributions.normal import Normal, independent
from vae_zoo.distributions.sphere.von_mises_fisher import VMF

_Form: TypeAlias = Callable[[Any, float], Distribution]


@singledispatch
def tempered(p: Distribution, temperature: float) -> Distribution:  # noqa: ARG001
    r"""A distribution with its spread around the centre multiplied by a temperature.

    .. math:: \mathcal{N}(\mu, \sigma^2) \mapsto \mathcal{N}(\mu, T^2 \sigma^2)

    T multiplies the scale of normal and Laplace distributions; of every component of a mixture, whose weights do not
    change; of every layer of latents, given the layer above; of a latent given its class; and of the noise of a flow.
    Other kinds can be added by ``tempered.register``.

    Args:
        p: Distribution.
        temperature: Temperature T, above 0; 1 changes nothing.

    Raises:
        ValueError: If the spread of this kind of distribution is not defined.
    """
    raise ValueError(f"a temperature means nothing here: {type(p).__name__} has no scale to multiply; leave it at 1.")


@singledispatch
def tempered_layers(p: Distribution, temperatures: Sequence[float]) -> Distribution:  # noqa: ARG001
    r"""A distribution of latents in layers with the spread of each layer multiplied by a temperature of its own.

    .. math:: \mathcal{N}(\mu_l, \sigma_l^2) \mapsto \mathcal{N}(\mu_l, T_l^2 \sigma_l^2)

    Other kinds can be added by ``tempered_layers.register``.

    Args:
        p: Distribution.
        temperatures: Temperature of each layer given the layers above, the lowest first.

    Raises:
        ValueError: If the distribution has no layers or another number of them, or a temperature is invalid.
    """
    raise ValueError(f"one temperature for each layer needs latents in layers, {type(p).__name__} has none: give one.")


def check_temperature(temperature: float | Sequence[float]) -> None:
    """Refuse an invalid temperature, or one among those of several layers.

    Raises:
        ValueError: If it is not positive and finite.
    """
    for value in [temperature] if isinstance(temperature, (int, float)) else temperature:
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"temperature must be positive and finite, got {value}.")


def at_temperature(p: Distribution, temperature: float | Sequence[float]) -> Distribution:
    """The prior that samples are drawn from: :func:`tempered`, or :func:`tempered_layers` for several temperatures."""
    if not isinstance(temperature, (int, float)):
        return tempered_layers(p, temperature)
    return p if temperature == 1 else tempered(p, temperature)


def check_layers(temperatures: Sequence[float], num: int) -> None:
    """Refuse temperatures of another number of layers.

    Raises:
        ValueError: With both numbers.
    """
    if len(temperatures) != num:
        raise ValueError(f"temperature: {num} layers need one each, the lowest first, got {len(temperatures)}.")
    check_temperature(temperatures)


def _exactly(kind: type[Any]) -> Callable[[_Form], _Form]:
    """Register for exactly this class: a subclass may have another spread."""

    def register(form: _Form) -> _Form:
        def of(p: Distribution, temperature: float) -> Distribution:
            return (form if type(p) is kind else tempered.dispatch(object))(p, temperature)

        tempered.register(kind, of)
        return form

    return register


@_exactly(Independent)
def _(p: Independent, temperature: float) -> Distribution:
    return independent(tempered(p.base_dist, temperature), p.reinterpreted_batch_ndims)


@_exactly(Normal)
def _(p: Normal, temperature: float) -> Distribution:
    return Normal(p.loc, p.log_scale + math.log(temperature))


@_exactly(Laplace)
def _(p: Laplace, temperature: float) -> Distribution:
    return Laplace(p.loc, p.log_scale + math.log(temperature))


@_exactly(torch.distributions.Normal)
def _(p: torch.distributions.Normal, temperature: float) -> Distribution:
    return torch.distributions.Normal(p.loc, p.scale * temperature, validate_args=False)


@_exactly(CholeskyNormal)
def _(p: CholeskyNormal, temperature: float) -> Distribution:
    lower = temperature * p.scale_tril.tril(-1)
    return CholeskyNormal(p.loc, lower, p.log_diagonal + math.log(temperature), tuple(p.event_shape))


@_exactly(VMF)
def _(p: VMF, temperature: float) -> Distribution:
    return VMF(p.mean, p.concentration / temperature**2)


@_exactly(OneHot)
def _(p: OneHot, temperature: float) -> Distribution:
    return OneHot(p.logits / temperature, len(p.event_shape))


@_exactly(Wrapped)
@_exactly(Riemannian)
def _(p: Wrapped | Riemannian, temperature: float) -> Distribution:
    return p.scaled(temperature)


@_exactly(Parts)
def _(p: Parts, temperature: float) -> Distribution:
    return Parts([tempered(part, temperature) for part in p.parts])


@_exactly(MixtureSameFamily)
def _(p: MixtureSameFamily, temperature: float) -> Distribution:
    components = tempered(p.component_distribution, temperature)
    return MixtureSameFamily(p.mixture_distribution, components, validate_args=False)


@_exactly(Mixture)
def _(p: Mixture, temperature: float) -> Distribution:
    return Mixture(tempered(p.components, temperature), p.left_out)


@_exactly(Hierarchical)
def _(p: Hierarchical, temperature: float) -> Distribution:
    below = [partial(_tempered_layer, layer, temperature) for layer in p.below]
    return Hierarchical(tempered(p.top, temperature), below, p.dims)


@tempered_layers.register
def _(p: Hierarchical, temperatures: Sequence[float]) -> Distribution:
    check_layers(temperatures, len(p.dims))
    *others, top = temperatures
    below = [partial(_tempered_layer, layer, t) for layer, t in zip(p.below, others, strict=True)]
    return Hierarchical(tempered(p.top, top), below, p.dims)


@_exactly(Labelled)
def _(p: Labelled, temperature: float) -> Distribution:
    return Labelled(p.log_probs, tempered(p.latents, temperature))


@_exactly(Flow)
def _(p: Flow, temperature: float) -> Distribution:
    factor = _Factor(temperature if p.sampler else 1 / temperature)
    return Flow([factor, *p.steps], p.loc, p.log_scale, tuple(p.event_shape), sampler=p.sampler)


def _tempered_layer(layer: Callable[[Tensor], Distribution], temperature: float, above: Tensor) -> Distribution:
    return tempered(layer(above), temperature)


class _Factor:
    """The step of a flow that multiplies every dimension by one number."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x * self.factor, x.new_full(x.shape[:-1], x.shape[-1] * math.log(self.factor))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        return y / self.factor, y.new_full(y.shape[:-1], -y.shape[-1] * math.log(self.factor))
