"""The mathematics, as pure functions of tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def expm1_minus(t: Tensor) -> Tensor:
    r"""The function :math:`e^t - 1 - t`, without the cancellation near 0 that makes divergences negative.

    Args:
        t: Any shape.

    Returns:
        Values of at least 0, the shape of t.
    """
    small = t.clamp(-0.3, 0.3)
    series = torch.zeros_like(small)
    for n in range(10, 1, -1):
        series = (series + 1 / math.factorial(n)) * small
    return torch.where(t.abs() < 0.3, series * small, torch.expm1(t) - t)


def kl_normal(q_loc: Tensor, q_log_scale: Tensor, p_loc: Tensor, p_log_scale: Tensor) -> Tensor:
    r"""Kullback–Leibler divergence of two normal distributions, element by element.

    .. math::
        \mathrm{KL}(q \,\|\, p) = \tfrac{1}{2} \Big( \frac{\sigma_q^2}{\sigma_p^2} - 1
        - \log \frac{\sigma_q^2}{\sigma_p^2} + \frac{(\mu_q - \mu_p)^2}{\sigma_p^2} \Big)

    References:
        | Auto-Encoding Variational Bayes, appendix B (Kingma and Welling, 2014)
        | https://arxiv.org/abs/1312.6114

    Args:
        q_loc: Mean of q.
        q_log_scale: Logarithm of the standard deviation of q.
        p_loc: Mean of p.
        p_log_scale: Logarithm of the standard deviation of p.

    Returns:
        Nats, the broadcast shape of the arguments; at least 0.

    Example:
        >>> zero = torch.zeros(2)
        >>> kl_normal(zero + 1, zero, zero, zero)
        tensor([0.5000, 0.5000])
    """
    standardised = (q_loc - p_loc) * torch.exp(-p_log_scale)
    return 0.5 * (expm1_minus(2 * (q_log_scale - p_log_scale)) + standardised.square())


def log_mean_exp(x: Tensor, dim: int = 0) -> Tensor:
    """Logarithm of the mean of exponentials along a dimension, which is removed."""
    return torch.logsumexp(x, dim) - math.log(x.shape[dim])


def bits_per_dim(nats: Tensor, num_dims: int) -> Tensor:
    """Bits per dimension of a negative log-likelihood in nats per example."""
    return nats / (num_dims * math.log(2))


def cosine_path(start: Tensor, end: Tensor, num_steps: int) -> Tensor:
    """Points between two latents at angles that are evenly spaced, so that their norm does not sag in the middle.

    Spherical interpolation keeps to the shell where nearly all of a high-dimensional normal distribution lies.

    References:
        | Sampling Generative Networks (White, 2016)
        | https://arxiv.org/abs/1609.04468

    Args:
        start: First latents, (B, D).
        end: Last latents, (B, D).
        num_steps: Number of points, ends included.

    Returns:
        (num_steps, B, D).
    """
    t = torch.linspace(0, 1, num_steps, device=start.device, dtype=start.dtype).view(-1, 1, 1)
    cosine = torch.cosine_similarity(start, end, dim=-1).clamp(-1 + 1e-6, 1 - 1e-6)
    angle = torch.arccos(cosine)[:, None]
    return (torch.sin((1 - t) * angle) * start + torch.sin(t * angle) * end) / torch.sin(angle)
