"""The aggregate posterior of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from vae_zoo.functional import log_normal

_CHUNK_ELEMENTS = 2**21
"""Elements of a table of densities computed at once: 8 MiB of float32."""


def log_standard_normal(z: Tensor) -> Tensor:
    """Log-density of each dimension under the standard normal distribution."""
    return -0.5 * z.square() - 0.5 * math.log(2 * math.pi)


class AggregatePosterior(Metric):
    r"""Mutual information, total correlation and dimension-wise divergence of a finite set of normal posteriors.

    .. math::
        \frac{1}{N} \sum_n \mathrm{KL}(q(z|x_n) \,\|\, p(z)) = \mathrm{I}(n; z)
        + \mathrm{KL}\Big(q(z) \,\Big\|\, \prod_d q(z_d)\Big) + \sum_d \mathrm{KL}(q(z_d) \,\|\, p(z_d)),
        \quad q(z) = \frac{1}{N} \sum_n q(z|x_n)

    The densities of the mixture are exact sums over the set; only z is sampled, S times from each posterior. Time
    is proportional to S N² D, memory is constant. The mutual information cannot exceed log N: a value near log N only
    reflects the size of the set.

    References:
        | ELBO surgery: yet another way to carve up the variational evidence lower bound (Hoffman and Johnson, 2016)
        | https://approximateinference.org/accepted/HoffmanJohnson2016.pdf

    Args:
        num_samples: Samples S of each posterior.
        log_prior: Log-density of each dimension under the prior, elementwise; without one the dimension-wise
            divergence is left out. The standard normal if not given.
        seed: Seed of the samples.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If num_samples is less than 1.
    """

    full_state_update = False
    loc: list[Tensor]
    log_scale: list[Tensor]

    def __init__(
        self,
        *,
        num_samples: int = 1,
        log_prior: Callable[[Tensor], Tensor] | None = log_standard_normal,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
        self.num_samples, self.log_prior, self.seed = num_samples, log_prior, seed
        self.add_state("loc", default=[], dist_reduce_fx="cat")
        self.add_state("log_scale", default=[], dist_reduce_fx="cat")

    def update(self, loc: Tensor, log_scale: Tensor) -> None:
        """Add means and logarithms of standard deviations of posteriors, (B, \\*latent) each."""
        self.loc.append(loc.detach().flatten(1))
        self.log_scale.append(log_scale.detach().flatten(1))

    def compute(self) -> dict[str, Tensor]:
        """``mutual_information``, ``total_correlation`` and ``dimension_wise_kl`` in nats, by name."""
        loc, log_scale = dim_zero_cat(self.loc), dim_zero_cat(self.log_scale)
        generator = torch.Generator(loc.device).manual_seed(self.seed)
        shape = (self.num_samples, *loc.shape)
        noise = torch.randn(shape, generator=generator, dtype=loc.dtype, device=loc.device)
        z = loc + log_scale.exp() * noise
        log_qzx = log_normal(z, loc, log_scale).flatten(0, 1).sum(-1)
        total = torch.zeros(3, dtype=torch.float32 if loc.device.type == "mps" else torch.float64, device=loc.device)
        rows = max(1, _CHUNK_ELEMENTS // loc.numel())
        for part, log_q in zip(z.flatten(0, 1).split(rows), log_qzx.split(rows), strict=True):
            total += self._terms(part, log_q, loc, log_scale).to(total.dtype)
        mean = (total / (self.num_samples * len(loc))).to(loc.dtype)
        names = ("mutual_information", "total_correlation", "dimension_wise_kl")[: 3 if self.log_prior else 2]
        return dict(zip(names, mean, strict=False))

    def _terms(self, z: Tensor, log_qzx: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
        pairs = log_normal(z[:, None], loc, log_scale)
        log_qz = torch.logsumexp(pairs.sum(-1), 1) - math.log(len(loc))
        log_marginals = (torch.logsumexp(pairs, 1) - math.log(len(loc))).sum(-1)
        log_pz = torch.zeros_like(log_qz) if self.log_prior is None else self.log_prior(z).sum(-1)
        return torch.stack([log_qzx - log_qz, log_qz - log_marginals, log_marginals - log_pz], -1).sum(0)
