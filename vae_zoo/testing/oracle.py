"""The evidence of a model with an affine decoder, computed independently of its bound."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from vae_zoo.distributions import OneHot
from vae_zoo.distributions.normal import is_normal

NUM_DRAWS = 60_000
_CHUNK = 10_000


@torch.no_grad()
def evidence(model: object, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor]:
    """log p(x) of a linear-Gaussian model, and its standard error.

    With a normal prior the evidence is exact; with few categories it is the sum over them. With any other prior it is
    the mean of p(x|z) over draws, which needs neither posterior nor divergence.

    Args:
        model: A model of vectors whose decoder is affine and whose likelihood has one fixed σ.
        x: Examples, (B, D), float64.
        c: Labels, (B,), or None.

    Returns:
        Nats, (B,), and the standard error, (B,), which is 0 if the evidence is exact.
    """
    prior = model.prior(c)  # type: ignore[attr-defined]
    if is_normal(prior) and len(prior.event_shape) == 1:
        return torch.stack([_exact(model, row, None if c is None else c[i : i + 1]) for i, row in enumerate(x)]), x[
            :, 0
        ] * 0
    if isinstance(prior, OneHot) and not prior.batch_shape and prior.num_values <= NUM_DRAWS:
        z = prior.enumerate_support()
        log_pxz = prior.log_prob(z)[:, None] + model.decode(z[:, None].expand(-1, len(x), *z.shape[1:]), c).log_prob(x)  # type: ignore[attr-defined]
        return torch.logsumexp(log_pxz, 0), torch.zeros_like(x[:, 0])
    values = []
    for _ in range(NUM_DRAWS // _CHUNK):
        z = prior.sample((_CHUNK,))
        if not prior.batch_shape:
            z = z[:, None] if c is None else z[:, None].expand(-1, len(x), *z.shape[1:])
        values.append(model.decode(z, c).log_prob(x))  # type: ignore[attr-defined]
    log_px = torch.cat(values)
    mean = torch.logsumexp(log_px, 0) - math.log(len(log_px))
    return mean, torch.exp(log_px - mean).std(0) / math.sqrt(len(log_px))


def _exact(model: object, x: Tensor, c: Tensor | None) -> Tensor:
    """The density of N(b + W m, W S Wᵀ + σ² I) for a prior N(m, S), with W and b read off the decoder."""
    prior = model.prior(c)  # type: ignore[attr-defined]
    mean, scale = prior.mean.reshape(-1), prior.stddev.reshape(-1)
    points = torch.cat([torch.zeros_like(mean)[None], torch.eye(len(mean), dtype=x.dtype)])
    decoded = model.decode(points, None if c is None else c.expand(len(points)))  # type: ignore[attr-defined]
    bias, weight = decoded.mean[0], (decoded.mean[1:] - decoded.mean[0]).T
    noise = decoded.stddev[0].square().diag()
    return MultivariateNormal(bias + weight @ mean, weight @ scale.square().diag() @ weight.T + noise).log_prob(x)
