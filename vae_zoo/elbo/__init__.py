"""The evidence lower bound, and methods of all models that have one."""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import check_latents, kl_per_dim, score
from vae_zoo.elbo.generative import (
    Generative,
    check_condition,
    check_labels,
    check_number,
    check_range,
    depends_on_condition,
    refuse_unused,
)
from vae_zoo.elbo.importance import Draw, LogEvidence, estimate
from vae_zoo.elbo.imputation import imputed
from vae_zoo.elbo.terms import ELBO
from vae_zoo.system.modes import in_evaluation_mode

__all__ = [
    "ELBO",
    "ELBOMixin",
    "Generative",
    "check_condition",
    "check_labels",
    "check_number",
    "check_range",
    "depends_on_condition",
    "has_density",
    "post_hoc_prior",
    "refuse_unused",
    "require_density",
]


class ELBOMixin(Generative):
    """A model with a posterior, a prior and a likelihood, and therefore a bound. It knows nothing of Lightning."""

    compiled: bool = False
    """Whether to compile the decoding, once for all numbers of samples and examples."""

    @abstractmethod
    def encode(self, x: Tensor, c: Tensor | None = None) -> Distribution:
        """Posterior q(z|x) of examples (B, \\*shape)."""

    def elbo(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1) -> ELBO:
        """The terms of the bound of examples (B, \\*shape), from K = num_samples reparameterised samples."""
        check_number("num_samples", num_samples, 1)
        q, p = self.encode(x, c), self.prior(c)
        check_latents(q, p, len(x))
        z = q.rsample((num_samples,))
        rates, curves = self.divergence(q, p, z)
        if rates.ndim != 2:
            raise ValueError(f"{type(self).__name__}.divergence must give (B, D) or (B, 1), gave {tuple(rates.shape)}.")
        px = self.decode(z, c)
        log_px = score(px, x, z.shape[:2])
        return ELBO(q=q, p=p, z=z, log_px=log_px, kl=rates.sum(1), rates=rates, curves=curves, x=x, c=c, px=px)

    def divergence(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Divergence of q from p, with samples (K, B, \\*latent) for Monte Carlo; and parts of it to log, (B,).

        It is given for each dimension if that is known, (B, D), and otherwise as a total, (B, 1).
        """
        return kl_per_dim(q, p, z), {}

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        """What is minimised, under ``loss``: a scalar in nats per example; other entries are logged beside it."""
        return {"loss": (elbo.kl - elbo.log_px.mean(0)).mean()}

    def log_evidence(
        self,
        x: Tensor,
        c: Tensor | None = None,
        num_samples: int = 5000,
        chunk: int | None = None,
        memory: float | None = None,
    ) -> Tensor:
        r"""Importance-weighted estimate of log p(x), a lower bound in expectation that tightens with the samples.

        .. math:: \log \hat p(x) = \log \frac{1}{K} \sum_{k=1}^K \frac{p(x, z_k)}{q(z_k|x)}, \quad z_k \sim q(z|x)

        An example is encoded once. The number of samples decoded at once changes which noise an example gets, but
        nothing else.

        References:
            | Importance Weighted Autoencoders (Burda et al., 2016)
            | https://arxiv.org/abs/1509.00519

        Args:
            x: Examples, (B, \*shape).
            c: Conditions, (B, ...).
            num_samples: Number of samples K, each of which is used once.
            chunk: Samples of each example to decode at once, for all examples together; if not given, as many samples
                and examples as fit into memory.
            memory: Budget in MiB for what is decoded at once; by default 32 on a CPU, 1024 elsewhere.

        Returns:
            Nats, (B,).

        Raises:
            ValueError: If num_samples or chunk is less than 1, memory is not positive, or the likelihood is not a
                density.
        """
        return self.evidence(x, c, num_samples, chunk, memory).value

    @torch.no_grad()
    @in_evaluation_mode
    def evidence(
        self,
        x: Tensor,
        c: Tensor | None = None,
        num_samples: int = 5000,
        chunk: int | None = None,
        memory: float | None = None,
    ) -> LogEvidence:
        """The estimate of :meth:`log_evidence` with its standard error and effective sample size, in one pass.

        Raises:
            ValueError: As in :meth:`log_evidence`, or if x or c are none of the values that the model is of.
        """
        require_density(self)
        check_inputs(self, x, c)
        return estimate(self._weights, x, c, num_samples, chunk, memory)

    @torch.no_grad()
    @in_evaluation_mode
    def impute(self, x: Tensor, c: Tensor | None = None, num_samples: int = 1000, *, mean: bool = True) -> Tensor:
        r"""Fill in missing values, given the observed values of the same example.

        .. math:: \mathbb{E}[x_{mis} | x_{obs}] \approx \sum_k \bar w_k \, \mathbb{E}[x_{mis} | z_k], \quad
            \bar w_k \propto \frac{p(x_{obs} | z_k) \, p(z_k)}{q(z_k | x_{obs})}, \quad z_k \sim q(z|x_{obs})

        References:
            | MIWAE: Deep Generative Modelling and Imputation of Incomplete Data Sets (Mattei and Frellsen, 2019)
            | https://arxiv.org/abs/1812.02633

        Args:
            x: Examples, (B, \*shape), in which NaN is missing.
            c: Conditions, (B, ...).
            num_samples: Number of samples K of each example.
            mean: Whether to fill in the conditional mean, or a draw from the conditional distribution, as for
                multiple imputation.

        Returns:
            The examples without missing values, (B, \*shape).

        Raises:
            ValueError: If num_samples is less than 1, the model is of complete examples, or its likelihood is not a
                density.
        """
        require_density(self)
        check_number("num_samples", num_samples, 1)
        if not getattr(getattr(self, "likelihood", None), "missing", True):
            raise ValueError(f"{type(self).__name__} was made for complete examples: make it with missing set to true.")

        def draw(num: int) -> tuple[Tensor, Distribution]:
            terms = self.elbo(x, c, num)
            return terms.log_w, self.decode(terms.z, c) if terms.px is None else terms.px

        return imputed(draw, x, num_samples, self.likelihood, mean=mean)  # type: ignore[attr-defined]

    def _weights(self, x: Tensor, c: Tensor | None) -> Draw:
        """A function that draws importance weights p(x, z) / q(z|x) of these examples."""
        if getattr(self.elbo, "__func__", None) is not ELBOMixin.elbo:
            return lambda num: self.elbo(x, c, num).log_w  # its own terms may weight samples differently
        q, p = self.encode(x, c), self.prior(c)
        check_latents(q, p, len(x))

        def draw(num: int) -> Tensor:
            z = q.rsample((num,))
            compiled = self.compiled and getattr(self, "compilable", True)
            fast = compiled and num > 1 and len(x) > 1  # a size of 1 would be compiled for itself
            log_px = (_compiled_log_px() if fast else _log_px)(self, z, x, c)
            return log_px + (p.log_prob(z) - q.log_prob(z))

        return draw


def _log_px(model: ELBOMixin, z: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
    return score(model.decode(z, c), x, z.shape[:2])


@functools.cache
def _compiled_log_px() -> Callable[..., Tensor]:
    return torch.compile(_log_px, dynamic=True)


def check_inputs(model: object, x: Tensor, c: Tensor | None) -> None:
    """Refuse examples and conditions of a model that are outside of what it is of.

    Raises:
        ValueError: If x is no tensor, a value is not one of the likelihood's, or a label is missing or out of range.
    """
    if not isinstance(x, Tensor):
        raise ValueError(f"examples must be a tensor, as of torch.as_tensor(x), got a {type(x).__name__}.")
    likelihood = getattr(model, "likelihood", None)
    if likelihood is not None and hasattr(likelihood, "check"):
        likelihood.check(x)
    if hasattr(model, "check_labels"):
        model.check_labels(c, len(x))


def has_density(model: object) -> bool:
    """Whether the likelihood of a model gives log-densities, so that it has a bound and an evidence."""
    return getattr(getattr(model, "likelihood", None), "is_density", True)


def post_hoc_prior(model: object) -> str:
    """Name of a model's prior if it was fitted after the model; empty otherwise."""
    priors = (getattr(model, name, None) for name in ("latent_prior", "code_prior"))
    return next((type(prior).__name__ for prior in priors if getattr(prior, "post_hoc", False)), "")


def require_density(model: object) -> None:
    """Refuse a model whose likelihood is an energy or a point.

    Raises:
        ValueError: If there is no density.
    """
    if not has_density(model):
        name = type(getattr(model, "likelihood", None)).__name__
        what = "has no density" if name == "Point" else "is an energy and not a density"
        raise ValueError(f"{name} {what}: there is no evidence, and no bits per dimension.")
