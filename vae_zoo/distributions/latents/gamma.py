"""Gamma distributions, of positive latents."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.divergence import register_kl
from vae_zoo.distributions.families import Family
from vae_zoo.distributions.normal import independent
from vae_zoo.distributions.priors import Prior
from vae_zoo.functional import exact
from vae_zoo.typing import Shape

MIN_CONCENTRATION = 0.2
"""Below it, draws underflow in float32: 2 in 10,000 at a concentration of 0.1, none in a million at 0.2."""

MAX_CONCENTRATION = 1000.0


class WideGamma(torch.distributions.Gamma):
    """torch's gamma distribution with densities in float64, because terms of the size of α log α cancel."""

    support = constraints.positive  # type: ignore[assignment]  # torch's contains 0, which has no density

    def log_prob(self, value: Tensor) -> Tensor:
        wide = torch.distributions.Gamma(self.concentration.double(), self.rate.double(), validate_args=False)
        return log_prob_inside(wide, value.double(), outside=value < 0, inner=1.0).to(self.rate.dtype)


class Gamma(Family):
    r"""Independent gamma values, with concentration α and rate β from the network.

    .. math:: \log q(z|x) = \sum_i \alpha_i \log \beta_i + (\alpha_i - 1) \log z_i - \beta_i z_i - \log \Gamma(\alpha_i)

    The network's outputs a and b give :math:`\alpha = \alpha_{\min} + e^a` and :math:`\beta = e^b`. Gradients pass
    through the samples by implicit reparameterisation, which torch implements for CPU and CUDA only.

    References:
        | Implicit Reparameterization Gradients (Figurnov et al., 2018)
        | https://arxiv.org/abs/1805.08498

    Args:
        shape: Shape of one event.
        min_concentration: Lower bound of α. Draws below the default may underflow in float32.

    Raises:
        ValueError: If min_concentration is not positive or not below 1000.
    """

    def __init__(self, shape: Shape, *, min_concentration: float = MIN_CONCENTRATION) -> None:
        super().__init__(shape)
        self.min_concentration = checked(min_concentration)

    @property
    def param_shape(self) -> Shape:
        return (2, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        log_concentration, log_rate = params.unbind(-len(self.param_shape))
        concentration = bounded_exp(log_concentration, self.min_concentration)
        return independent(WideGamma(concentration, log_rate.clamp(-7, 7).exp(), validate_args=False), len(self.shape))


class GammaPrior(Prior):
    """The same gamma distribution in every dimension.

    Args:
        shape: Shape of one latent.
        concentration: Concentration α.
        rate: Rate β; the mean is α / β.

    Raises:
        ValueError: If concentration or rate is not positive and finite.
    """

    one: Tensor

    def __init__(self, shape: Shape, *, concentration: float = 2.0, rate: float = 1.0) -> None:
        super().__init__(shape)
        check_positive(concentration=concentration, rate=rate)
        self.concentration, self.rate = concentration, rate
        self.register_buffer("one", torch.ones(self.shape), persistent=False)

    def forward(self, c: Tensor | None = None) -> Distribution:  # noqa: ARG002
        one = exact(self.one)
        return independent(WideGamma(self.concentration * one, self.rate * one, validate_args=False), len(self.shape))


@register_kl(WideGamma, WideGamma)
def _gamma_gamma(q: Any, p: Any, event_dims: int) -> Tensor:
    a, rate, p_a, p_rate = (t.double().flatten(-event_dims) for t in (q.concentration, q.rate, p.concentration, p.rate))
    nats = (a - p_a) * torch.digamma(a) - torch.lgamma(a) + torch.lgamma(p_a)
    nats = nats + p_a * (rate.log() - p_rate.log()) + a * (p_rate - rate) / rate
    return nats.to(q.rate.dtype)


def log_prob_inside(d: Distribution, value: Tensor, *, outside: Tensor, inner: float) -> Tensor:
    """Log-density that is -inf outside the support, with a gradient of 0 there.

    torch's own is finite there at a concentration of 1, where the power of the value has no effect. The ends of the
    support have the limit of the density, and NaN stays NaN.

    Args:
        d: Distribution of independent values.
        value: Values, a shape that broadcasts with that of the batch.
        outside: Where they are outside the support, the shape of value.
        inner: Some value inside the support.
    """
    return d.log_prob(value.masked_fill(outside, inner)).masked_fill(outside, -math.inf)


def bounded_exp(log_concentration: Tensor, least: float) -> Tensor:
    """Concentrations from a network's outputs; the lower bound is added, so that a gradient passes everywhere."""
    return least + log_concentration.clamp(max=math.log(MAX_CONCENTRATION)).exp()


def checked(min_concentration: float) -> float:
    """Refuse a lower bound of concentrations that leaves no room.

    Raises:
        ValueError: If it is not positive or not below the upper bound.
    """
    if not 0 < min_concentration < MAX_CONCENTRATION:
        raise ValueError(f"min_concentration must be above 0 and below 1000, got {min_concentration}.")
    return min_concentration


def check_positive(**values: float) -> None:
    """Refuse parameters of a prior.

    Raises:
        ValueError: If one of them is not positive and finite.
    """
    for name, value in values.items():
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive and finite, got {value}.")
