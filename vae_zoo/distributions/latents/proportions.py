"""Beta and Dirichlet distributions, of latents that are proportions."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions.divergence import register_kl
from vae_zoo.distributions.families import Family
from vae_zoo.distributions.latents.gamma import (
    MIN_CONCENTRATION,
    bounded_exp,
    check_positive,
    checked,
    log_prob_inside,
)
from vae_zoo.distributions.normal import independent
from vae_zoo.distributions.priors import Prior
from vae_zoo.distributions.supports import OpenInterval
from vae_zoo.functional import exact
from vae_zoo.typing import Shape


class OpenBeta(torch.distributions.Beta):
    """torch's beta distribution with draws inside the open interval, and densities in float64."""

    support = OpenInterval(0.0, 1.0)

    def rsample(self, sample_shape: Any = (), **kwargs: Any) -> Tensor:
        z = super().rsample(sample_shape, **kwargs)
        info = torch.finfo(z.dtype)
        return z.clamp(info.tiny, 1 - info.eps / 2)

    def log_prob(self, value: Tensor) -> Tensor:
        a, b = self.concentration1.double(), self.concentration0.double()
        wide, outside = torch.distributions.Beta(a, b, validate_args=False), (value < 0) | (value > 1)
        return log_prob_inside(wide, value.double(), outside=outside, inner=0.5).to(self.concentration1.dtype)


class OpenDirichlet(torch.distributions.Dirichlet):
    """torch's Dirichlet distribution with draws inside the open simplex, and densities in float64."""

    def rsample(self, sample_shape: Any = (), **kwargs: Any) -> Tensor:
        z = super().rsample(sample_shape, **kwargs)
        return z.clamp(min=torch.finfo(z.dtype).tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        wide, below = torch.distributions.Dirichlet(self.concentration.double(), validate_args=False), value < 0
        nats = wide.log_prob(value.double().masked_fill(below, 1.0))
        return nats.masked_fill(below.any(-1), -math.inf).to(self.concentration.dtype)


class Beta(Family):
    r"""Independent beta values in (0, 1), with both concentrations from the network.

    .. math:: \log q(z|x) = \sum_i (\alpha_i - 1) \log z_i + (\beta_i - 1) \log (1 - z_i) - \log B(\alpha_i, \beta_i)

    The network's outputs a and b give :math:`\alpha = \alpha_{\min} + e^a` and :math:`\beta = \alpha_{\min} + e^b`.
    Gradients pass through the samples by implicit reparameterisation, on CPU and CUDA only.

    References:
        | Implicit Reparameterization Gradients (Figurnov et al., 2018)
        | https://arxiv.org/abs/1805.08498

    Args:
        shape: Shape of one event.
        min_concentration: Lower bound of both concentrations.

    Raises:
        ValueError: If min_concentration is not positive or not below 1000.
    """

    advice = "values of exactly 0 or 1 have no density"

    def __init__(self, shape: Shape, *, min_concentration: float = MIN_CONCENTRATION) -> None:
        super().__init__(shape)
        self.min_concentration = checked(min_concentration)

    @property
    def param_shape(self) -> Shape:
        return (2, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        alpha, beta = bounded_exp(params, self.min_concentration).unbind(-len(self.param_shape))
        return independent(OpenBeta(alpha, beta, validate_args=False), len(self.shape))


class Dirichlet(Family):
    r"""Proportions that add up to 1 along the last axis, with their concentrations from the network.

    .. math::
        \log q(z|x) = \sum_k (\alpha_k - 1) \log z_k - \log \Gamma(\alpha_k) + \log \Gamma \Big( \sum_k \alpha_k \Big)

    The network's outputs a give :math:`\alpha = \alpha_{\min} + e^a`. Gradients pass through the samples by implicit
    reparameterisation, on CPU and CUDA only.

    References:
        | Dirichlet Variational Autoencoder (Joo et al., 2019)
        | https://arxiv.org/abs/1901.02739

    Args:
        shape: Shape of one event; the last side is the number of proportions, at least 2.
        min_concentration: Lower bound of the concentrations.

    Raises:
        ValueError: If the last side is less than 2, or min_concentration is not positive or not below 1000.
    """

    def __init__(self, shape: Shape, *, min_concentration: float = MIN_CONCENTRATION) -> None:
        super().__init__(shape)
        check_sides(self, 2)
        self.min_concentration = checked(min_concentration)

    def distribution(self, params: Tensor) -> Distribution:
        return _dirichlet(bounded_exp(params, self.min_concentration), len(self.shape))


class BetaPrior(Prior):
    """The same beta distribution in every dimension; by default uniform on (0, 1).

    Args:
        shape: Shape of one latent.
        alpha: Concentration of 1.
        beta: Concentration of 0; the mean is α / (α + β).

    Raises:
        ValueError: If alpha or beta is not positive and finite.
    """

    one: Tensor

    def __init__(self, shape: Shape, *, alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__(shape)
        check_positive(alpha=alpha, beta=beta)
        self.alpha, self.beta = alpha, beta
        self.register_buffer("one", torch.ones(self.shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        one = exact(self.one)
        return independent(OpenBeta(self.alpha * one, self.beta * one, validate_args=False), len(self.shape))


class DirichletPrior(Prior):
    """A Dirichlet distribution with one concentration for all proportions; by default uniform on the simplex.

    Args:
        shape: Shape of one latent; the last side is the number of proportions.
        concentration: Concentration α; below 1, most of the mass is near the corners.

    Raises:
        ValueError: If concentration is not positive and finite, or the last side is less than 2.
    """

    one: Tensor

    def __init__(self, shape: Shape, *, concentration: float = 1.0) -> None:
        super().__init__(shape)
        check_sides(self, 2)
        check_positive(concentration=concentration)
        self.concentration = concentration
        self.register_buffer("one", torch.ones(self.shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        return _dirichlet(self.concentration * exact(self.one), len(self.shape))


def check_sides(module: Family | Prior, least: int) -> None:
    """Refuse events whose last axis is too short for proportions or categories.

    Raises:
        ValueError: If it is shorter than least.
    """
    if module.shape[-1] < least:
        name = type(module).__name__
        raise ValueError(f"{name} needs a last side of at least {least}, got events of shape {module.shape}.")


def _dirichlet(concentration: Tensor, event_dims: int) -> Distribution:
    d = OpenDirichlet(concentration, validate_args=False)
    return d if event_dims == 1 else independent(d, event_dims - 1)


def _kl_dirichlet(a: Tensor, p_a: Tensor) -> Tensor:
    """Divergence of Dirichlet distributions with concentrations along the last axis."""
    total, p_total = a.sum(-1), p_a.sum(-1)
    nats = torch.lgamma(total) - torch.lgamma(p_total) + (torch.lgamma(p_a) - torch.lgamma(a)).sum(-1)
    return nats + ((a - p_a) * (torch.digamma(a) - torch.digamma(total).unsqueeze(-1))).sum(-1)


@register_kl(OpenBeta, OpenBeta)
def _beta_beta(q: Any, p: Any, event_dims: int) -> Tensor:
    a, p_a = (torch.stack([d.concentration1, d.concentration0], -1).double() for d in (q, p))
    return _kl_dirichlet(a, p_a).flatten(-event_dims).to(q.concentration1.dtype)


@register_kl(OpenDirichlet, OpenDirichlet)
def _dirichlet_dirichlet(q: Any, p: Any, event_dims: int) -> Tensor:
    nats = _kl_dirichlet(q.concentration.double(), p.concentration.double()).to(q.concentration.dtype)
    return nats.flatten(-(event_dims - 1)) if event_dims > 1 else nats.unsqueeze(-1)
