"""Divergence of a posterior from a prior."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent

from vae_zoo.distributions.latents.parts import Parts
from vae_zoo.distributions.location_scale import CholeskyNormal, Laplace
from vae_zoo.distributions.normal import Normal
from vae_zoo.functional import expm1_minus, kl_normal

Form: TypeAlias = Callable[[Any, Any, int], Tensor]

_FORMS: dict[tuple[type, type], Form] = {}
"""Closed forms by the classes of q and p."""


def register_kl(q_class: type, p_class: type) -> Callable[[Form], Form]:
    """Register the closed form of a divergence, for posteriors and priors of exactly these classes.

    Args:
        q_class: Class of the posterior, of what is inside :class:`torch.distributions.Independent`.
        p_class: Class of the prior, likewise.

    Returns:
        Decorator of a function ``form(q, p, event_dims)`` that gives nats of each dimension, (B, D), or of all, (B, 1).

    Example:
        >>> @register_kl(torch.distributions.Gamma, torch.distributions.Gamma)  # doctest: +SKIP
        ... def gamma_gamma(q, p, event_dims): ...
    """

    def register(form: Form) -> Form:
        _FORMS[q_class, p_class] = form
        return form

    return register


def kl(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    r"""Kullback–Leibler divergence of q from p: in closed form if one is known, otherwise by Monte Carlo.

    .. math:: \mathrm{KL}(q \,\|\, p) = \mathbb{E}_{q(z)}[\log q(z) - \log p(z)]

    Args:
        q: Posterior of a batch, batch shape (B,).
        p: Prior, batch shape () or (B,).
        z: Samples of q, (K, B, \*latent); used where there is no closed form.

    Returns:
        Nats per example, (B,).
    """
    return kl_per_dim(q, p, z).sum(-1)


def kl_per_dim(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    """The divergence of :func:`kl` before it is summed: of each dimension where both factorise, else in one piece.

    Args:
        q: Posterior of a batch, batch shape (B,).
        p: Prior, batch shape () or (B,).
        z: Samples of q, (K, B, \\*latent); used where there is no closed form.

    Returns:
        Nats, (B, D) or (B, 1).
    """
    if isinstance(q, Parts) and isinstance(p, Parts) and q.sizes == p.sizes:
        parts = zip(q.parts, p.parts, q.split(z), strict=True)
        return torch.cat([kl_per_dim(*part) for part in parts], -1)
    q_base, p_base = _base(q), _base(p)
    form = _FORMS.get((type(q_base), type(p_base)))
    if form is None:
        return (q.log_prob(z) - p.log_prob(z)).mean(0).unsqueeze(-1)
    return form(q_base, p_base, len(q.event_shape))


def has_closed_form(q: Distribution, p: Distribution) -> bool:
    """Whether :func:`kl` of the two needs no samples."""
    if isinstance(q, Parts) and isinstance(p, Parts) and q.sizes == p.sizes:
        return all(has_closed_form(*pair) for pair in zip(q.parts, p.parts, strict=True))
    return (type(_base(q)), type(_base(p))) in _FORMS


def kl_laplace(q_loc: Tensor, q_log_scale: Tensor, p_loc: Tensor, p_log_scale: Tensor) -> Tensor:
    r"""Kullback–Leibler divergence of two Laplace distributions, element by element, as a sum of terms of at least 0.

    .. math::
        \mathrm{KL}(q \,\|\, p) = r (e^{-d} - 1 + d) + (r - 1 - \log r),
        \quad r = \frac{b_q}{b_p}, \quad d = \frac{|\mu_q - \mu_p|}{b_q}

    Args:
        q_loc: Mean of q.
        q_log_scale: Logarithm of the scale of q.
        p_loc: Mean of p.
        p_log_scale: Logarithm of the scale of p.

    Returns:
        Nats, the broadcast shape of the arguments; at least 0.
    """
    distance = (q_loc - p_loc).abs() * torch.exp(-q_log_scale)
    log_ratio = q_log_scale - p_log_scale
    return log_ratio.exp() * expm1_minus(-distance) + expm1_minus(log_ratio)


def kl_laplace_normal(q_loc: Tensor, q_log_scale: Tensor, p_loc: Tensor, p_log_scale: Tensor) -> Tensor:
    r"""Kullback–Leibler divergence of a Laplace from a normal distribution, element by element.

    .. math::
        \mathrm{KL}(q \,\|\, p) = \frac{2 b^2 + (\mu_q - \mu_p)^2}{2 \sigma^2} - \log \frac{b}{\sigma}
        + \tfrac{1}{2} \log \frac{\pi}{2} - 1

    Args:
        q_loc: Mean of q.
        q_log_scale: Logarithm of the scale b of q.
        p_loc: Mean of p.
        p_log_scale: Logarithm of the standard deviation σ of p.

    Returns:
        Nats, the broadcast shape of the arguments; at least 0.
    """
    log_ratio = q_log_scale - p_log_scale
    standardised = (q_loc - p_loc) * torch.exp(-p_log_scale)
    return torch.exp(2 * log_ratio) + 0.5 * standardised.square() - log_ratio + 0.5 * math.log(math.pi / 2) - 1


def kl_normal_laplace(q_loc: Tensor, q_log_scale: Tensor, p_loc: Tensor, p_log_scale: Tensor) -> Tensor:
    r"""Kullback–Leibler divergence of a normal from a Laplace distribution, element by element.

    .. math::
        \mathrm{KL}(q \,\|\, p) = \frac{1}{b} \Big( \sigma \sqrt{\tfrac{2}{\pi}} \, e^{-t^2 / 2}
        + \sigma t \, \mathrm{erf} \frac{t}{\sqrt{2}} \Big) - \log \frac{\sigma}{b} + \tfrac{1}{2} \log \frac{2}{\pi}
        - \tfrac{1}{2}, \quad t = \frac{\mu_q - \mu_p}{\sigma}

    Args:
        q_loc: Mean of q.
        q_log_scale: Logarithm of the standard deviation σ of q.
        p_loc: Mean of p.
        p_log_scale: Logarithm of the scale b of p.

    Returns:
        Nats, the broadcast shape of the arguments; at least 0.
    """
    log_ratio = q_log_scale - p_log_scale
    t = (q_loc - p_loc) * torch.exp(-q_log_scale)
    folded = math.sqrt(2 / math.pi) * torch.exp(-0.5 * t.square()) + t * torch.erf(t / math.sqrt(2))
    return log_ratio.exp() * folded - log_ratio + 0.5 * math.log(2 / math.pi) - 0.5


@register_kl(Normal, Normal)
def _normal_normal(q: Any, p: Any, event_dims: int) -> Tensor:
    return kl_normal(*_parameters(q, event_dims), *_parameters(p, event_dims))


@register_kl(Normal, Laplace)
def _normal_laplace(q: Any, p: Any, event_dims: int) -> Tensor:
    return kl_normal_laplace(*_parameters(q, event_dims), *_parameters(p, event_dims))


@register_kl(Laplace, Laplace)
def _laplace_laplace(q: Any, p: Any, event_dims: int) -> Tensor:
    return kl_laplace(*_parameters(q, event_dims), *_parameters(p, event_dims))


@register_kl(Laplace, Normal)
def _laplace_normal(q: Any, p: Any, event_dims: int) -> Tensor:
    return kl_laplace_normal(*_parameters(q, event_dims), *_parameters(p, event_dims))


@register_kl(CholeskyNormal, Normal)
def _full_normal(q: CholeskyNormal, p: Any, event_dims: int) -> Tensor:
    """A normal with any covariance and an independent one: the terms of its diagonal factor, and the rest."""
    loc, log_scale = _parameters(p, event_dims)
    rest = (torch.tril(q.scale_tril, -1) * torch.exp(-log_scale).unsqueeze(-1)).square().sum(-1)
    return (kl_normal(q.loc, q.log_diagonal, loc, log_scale) + 0.5 * rest).sum(-1, keepdim=True)


@register_kl(CholeskyNormal, Laplace)
def _full_laplace(q: CholeskyNormal, p: Any, event_dims: int) -> Tensor:
    """Each marginal of q and p, less the information that the dimensions of q have about each other."""
    q_log_scale = 0.5 * torch.log(q.scale_tril.square().sum(-1))
    marginal = kl_normal_laplace(q.loc, q_log_scale, *_parameters(p, event_dims))
    return (marginal + q_log_scale - q.log_diagonal).sum(-1, keepdim=True)


def _parameters(d: Any, event_dims: int) -> tuple[Tensor, Tensor]:
    return d.loc.flatten(-event_dims), d.log_scale.flatten(-event_dims)


def _base(d: Distribution) -> Any:
    return d.base_dist if type(d) is Independent else d  # a class that inherits its code may have another density
