"""Models whose bound, evidence or prior is wrong."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from vae_zoo.distributions import Prior
from vae_zoo.distributions.normal import Normal as OurNormal
from vae_zoo.distributions.normal import independent
from vae_zoo.elbo import ELBO
from vae_zoo.functional import kl_normal
from vae_zoo.models import IWAE, VAE


class WrongSign(VAE):
    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        elbo = super().elbo(x, c, num_samples)
        return elbo._replace(kl=-elbo.kl)


class WeightedCurve(VAE):
    """The weight of training in the metric that checkpoints are chosen by."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        return {**values, "elbo": values["reconstruction"] - 4 * values["kl"]}


class Surrogate(IWAE):
    """The self-normalised surrogate logged as the bound: up to log K above log p(x)."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        weight = torch.softmax(elbo.log_w, 0).detach()
        value = (weight * elbo.log_w).sum(0).mean()
        return {"loss": -value, "bound": value}


class WorstSample(IWAE):
    """The softmax taken over losses: the worst sample has the most weight."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        weight = torch.softmax(-elbo.log_w, 0).detach()
        return {"loss": -(weight * elbo.log_w).sum(0).mean()}


class SwappedAxes(IWAE):
    """The mean over examples inside the logarithm, and that over samples outside."""

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        value = (torch.logsumexp(elbo.log_w, 1) - math.log(elbo.log_w.shape[1])).mean()
        return {"loss": -value, "bound": value}


class PositiveNLL(VAE):
    def log_evidence(self, *args: Any, **kwargs: Any) -> Tensor:
        return -super().log_evidence(*args, **kwargs)


class WholeChunks(VAE):
    """An estimator that uses a number of samples that suits itself."""

    def log_evidence(
        self, x: Tensor, c: Tensor | None = None, num_samples: int = 1, chunk: int | None = None
    ) -> Tensor:
        return super().log_evidence(x, c, max(num_samples, len(x)), chunk)


class LearnedNormal(Prior):
    def __init__(self, shape: Any) -> None:
        super().__init__(shape)
        self.loc, self.log_scale = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))

    def forward(self, c: Tensor | None = None) -> Distribution:
        return independent(OurNormal(self.loc, self.log_scale), 1)


class StandardSamples(VAE):
    """Samples from N(0, I), whatever the prior."""

    def __init__(self, *, prior: Any = LearnedNormal, **kwargs: Any) -> None:
        super().__init__(prior=prior, **kwargs)

    def sample(self, num: int, c: Tensor | None = None, *, mean: bool = True) -> Tensor:
        weight = next(self.parameters())
        return self.decode(torch.randn(num, self.latent_dim, dtype=weight.dtype)).mean


class NoHalf(VAE):
    """The ½ of the divergence forgotten."""

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        elbo = super().elbo(x, c, num_samples)
        return elbo._replace(kl=2 * elbo.kl)


class TopDropped(VAE):
    """The divergence of the last latent left out."""

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        elbo = super().elbo(x, c, num_samples)
        q: Any = elbo.q
        zero = torch.zeros_like(q.base_dist.loc)
        return elbo._replace(kl=kl_normal(q.base_dist.loc, q.base_dist.log_scale, zero, zero)[:, :-1].sum(-1))


class MeanOverLatents(VAE):
    """The divergence averaged over the dimensions of the latent."""

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        elbo = super().elbo(x, c, num_samples)
        return elbo._replace(kl=elbo.kl / self.latent_dim)
