"""Divergence of a posterior from a prior."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions.normal import is_normal
from vae_zoo.functional import kl_normal


def kl(q: Distribution, p: Distribution, z: Tensor) -> Tensor:
    r"""Kullback–Leibler divergence of q from p: in closed form where one is known, by Monte Carlo elsewhere.

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
    if is_normal(q) and is_normal(p):
        a, b = q.base_dist, p.base_dist  # type: ignore[attr-defined]
        elementwise = kl_normal(a.loc, a.log_scale, b.loc, b.log_scale)
        return elementwise.flatten(len(q.batch_shape))
    return (q.log_prob(z) - p.log_prob(z)).mean(0).unsqueeze(-1)
