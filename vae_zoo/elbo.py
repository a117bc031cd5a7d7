"""The evidence lower bound, and what every model that has one can do with it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import kl, kl_per_dim

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
        penalty: What free bits add to the divergence, a scalar.
        curves: Further terms that are logged, such as the divergence of each layer, (B,).
    """

    q: Distribution
    p: Distribution
    z: Tensor
    log_px: Tensor
    kl: Tensor
    weight: Tensor | float = 1.0
    penalty: Tensor | float = 0.0
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
        return self.log_px + self.weight * (self.log_pz - self.log_qz - self.penalty)

    @property
    def value(self) -> Tensor:
        """The bound, (B,)."""
        return self.log_px.mean(0) - self.kl

    def annealed(self, weight: Tensor) -> ELBO:
        """The same terms with the divergence weighted: what an objective sees while it is annealed."""
        return self._replace(kl=weight * self.kl, weight=weight)

    def floored(self, free_bits: float) -> ELBO:
        r"""The same terms with a divergence that costs nothing below a floor: what an objective sees under free bits.

        .. math:: \sum_j \max(\lambda, \overline{\mathrm{KL}}_j)
            = \sum_j \overline{\mathrm{KL}}_j + \sum_j \max(0, \lambda - \overline{\mathrm{KL}}_j)

        The mean is over the batch. The second sum is the penalty, which cancels the gradient of each dimension below
        the floor. A divergence that is not a sum over dimensions has one floor, of λ times their number.

        References:
            | Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016)
            | https://arxiv.org/abs/1606.04934

        Args:
            free_bits: Floor λ in nats per dimension.
        """
        rates = kl_per_dim(self.q, self.p, self.z).mean(0)
        floor = free_bits * self.z.shape[2:].numel() / len(rates)
        penalty = (floor - rates).relu().sum()
        return self._replace(kl=self.kl + penalty, penalty=penalty)


class LogEvidence(NamedTuple):
    r"""An estimate of log p(x) from K importance weights w of each example, and how far it can be trusted.

    .. math::
        \log \hat p = \log \bar w, \quad
        \mathrm{error} = \frac{1}{\bar w} \sqrt{\frac{\sum_k (w_k - \bar w)^2}{K (K - 1)}}, \quad
        \mathrm{ess} = \frac{(\sum_k w_k)^2}{\sum_k w_k^2}

    Args:
        value: The estimate: in expectation a lower bound, by about half the square of the error. Nats, (B,).
        error: Its standard error by the delta method, infinite for K = 1, where nothing is known of it. Nats, (B,).
        ess: Effective sample size, from 1, where one sample carries all the weight, to K, (B,).
    """

    value: Tensor
    error: Tensor
    ess: Tensor

    @classmethod
    def from_sums(cls, log_first: Tensor, log_second: Tensor, num_samples: int) -> LogEvidence:
        """The estimate from the logarithms of the sum of the weights and of the sum of their squares."""
        ess = torch.exp(2 * log_first - log_second)
        if num_samples == 1:
            error = torch.full_like(ess, math.inf)
        else:
            error = ((num_samples / ess - 1).clamp(min=0) / (num_samples - 1)).sqrt()
        return cls(log_first - math.log(num_samples), error, ess)

    @classmethod
    def from_weights(cls, log_w: Tensor) -> LogEvidence:
        """The estimate from logarithms of weights, (K, B)."""
        return cls.from_sums(torch.logsumexp(log_w, 0), torch.logsumexp(2 * log_w, 0), len(log_w))


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
            ValueError: If num_samples or chunk is less than 1, or the likelihood is no density.
        """
        return self.evidence(x, c, num_samples, chunk).value

    @torch.no_grad()
    def evidence(
        self, x: Tensor, c: Tensor | None = None, num_samples: int = 5000, chunk: int | None = None
    ) -> LogEvidence:
        """The estimate of :meth:`log_evidence` with its standard error and effective sample size, in one pass."""
        require_density(self)
        if num_samples < 1 or (chunk is not None and chunk < 1):
            raise ValueError(f"num_samples and chunk must be at least 1, got {num_samples} and {chunk}.")
        chunk = chunk or max(1, _CHUNK_ELEMENTS // max(1, x.numel()))
        exact = torch.float32 if x.device.type == "mps" else torch.float64
        first = second = torch.full((len(x),), -math.inf, dtype=exact, device=x.device)
        for start in range(0, num_samples, chunk):
            log_w = self.elbo(x, c, min(chunk, num_samples - start)).log_w
            first = torch.logaddexp(first, torch.logsumexp(log_w.to(exact), 0))
            second = torch.logaddexp(second, torch.logsumexp(2 * log_w.to(exact), 0))
        return LogEvidence(*(t.to(log_w.dtype) for t in LogEvidence.from_sums(first, second, num_samples)))

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


def has_density(model: object) -> bool:
    """Whether what a model's likelihood gives is a log-density, so that its bound and evidence mean something."""
    return getattr(getattr(model, "likelihood", None), "is_density", True)


def require_density(model: object) -> None:
    """Refuse a model whose likelihood is an energy or a point.

    Raises:
        ValueError: If there is no density.
    """
    if not has_density(model):
        name = type(getattr(model, "likelihood", None)).__name__
        what = "has no density" if name == "Point" else "is an energy and not a density"
        raise ValueError(f"{name} {what}: there is no evidence, and no bits per dimension.")
