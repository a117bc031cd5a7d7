"""The evidence lower bound, and what every model that has one can do with it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import kl

_CHUNK_ELEMENTS = 2**23
"""Elements of a decoder's output that one step of the evidence estimator may hold: 32 MiB of float32."""


class ELBO(NamedTuple):
    r"""The terms of a bound, from K samples of the posterior of B examples, in nats.

    .. math:: \log p(x) \ge \mathbb{E}_{q(z|x)}[\log p(x|z)] - \mathrm{KL}(q(z|x) \,\|\, p(z))

    Args:
        q: Posterior q(z|x), batch shape (B,).
        p: Prior p(z), batch shape () or (B,).
        z: Samples of q, (K, B, \*latent).
        log_px: log p(x|z), (K, B).
        kl: Divergence of q from p, in closed form where known, (B,).
        weight: Weight of the divergence while it is annealed.
        curves: Further terms that are logged, such as the divergence of each layer, (B,).
    """

    q: Distribution
    p: Distribution
    z: Tensor
    log_px: Tensor
    kl: Tensor
    weight: Tensor | float = 1.0
    curves: Mapping[str, Tensor] = {}

    @property
    def log_pz(self) -> Tensor:
        """log p(z), (K, B)."""
        return self.p.log_prob(self.z)

    @property
    def log_qz(self) -> Tensor:
        """log q(z|x), (K, B)."""
        return self.q.log_prob(self.z)

    @property
    def log_w(self) -> Tensor:
        """Logarithm of the importance weights p(x, z) / q(z|x), (K, B)."""
        return self.log_px + self.weight * (self.log_pz - self.log_qz)

    @property
    def value(self) -> Tensor:
        """The bound, (B,)."""
        return self.log_px.mean(0) - self.kl

    def annealed(self, weight: Tensor) -> ELBO:
        """The same terms with the divergence weighted: what an objective sees while it is annealed."""
        return self._replace(kl=weight * self.kl, weight=weight)


class ELBOMixin(ABC):
    """A model with a posterior, a prior and a likelihood, and therefore a bound. It knows nothing of Lightning."""

    @abstractmethod
    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Posterior q(z|x) of examples (B, \\*shape)."""

    @abstractmethod
    def decode(self, z: Tensor, c: Tensor | None = None) -> Distribution:
        """Likelihood p(x|z) of latents (..., B, \\*latent)."""

    @abstractmethod
    def prior(self, c: Tensor | None = None) -> Distribution:
        """Prior p(z)."""

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        """The terms of the bound of examples (B, \\*shape), from K = num_samples reparameterised samples."""
        q, p = self.encode(x, c), self.prior(c)
        z = q.rsample((num_samples,))
        return ELBO(q=q, p=p, z=z, log_px=self.decode(z, c).log_prob(x), kl=kl(q, p, z))

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        """What is minimised, under ``loss``: a scalar in nats per example; other entries are logged beside it."""
        return {"loss": (elbo.kl - elbo.log_px.mean(0)).mean()}

    @torch.no_grad()
    def log_evidence(
        self, x: Tensor, c: Tensor | None = None, num_samples: int = 5000, chunk: int | None = None
    ) -> Tensor:
        r"""Importance-weighted estimate of log p(x), a lower bound in expectation that tightens with the samples.

        .. math:: \log \hat p(x) = \log \frac{1}{K} \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)

        References:
            | Importance Weighted Autoencoders (Burda et al., 2016)
            | https://arxiv.org/abs/1509.00519

        Args:
            x: Examples, (B, \*shape).
            c: Conditions, (B, ...).
            num_samples: Number of samples K, every one of which is used.
            chunk: Samples of each example decoded at once; as many as fit in a few megabytes if not given.

        Returns:
            Nats, (B,).

        Raises:
            ValueError: If num_samples or chunk is less than 1.
        """
        if num_samples < 1 or (chunk is not None and chunk < 1):
            raise ValueError(f"num_samples and chunk must be at least 1, got {num_samples} and {chunk}.")
        chunk = chunk or max(1, _CHUNK_ELEMENTS // max(1, x.numel()))
        total = x.new_full((len(x),), -math.inf)
        for start in range(0, num_samples, chunk):
            log_w = self.elbo(x, c, min(chunk, num_samples - start)).log_w
            total = torch.logaddexp(total, torch.logsumexp(log_w, 0))
        return total - math.log(num_samples)

    @torch.no_grad()
    def sample(self, num: int, c: Tensor | None = None, *, mean: bool = True) -> Tensor:
        """Draw latents from the model's own prior and decode them.

        Args:
            num: Number of samples.
            c: Conditions, (num, ...).
            mean: Whether to return the mean of p(x|z), as pictures usually show, or a draw from it.

        Returns:
            (num, \\*shape).
        """
        p = self.prior(c)
        z = p.sample((num,) if not p.batch_shape else ())
        px = self.decode(z, c)
        return px.mean if mean else px.sample()
