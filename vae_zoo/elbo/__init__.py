"""The evidence lower bound, and methods of all models that have one."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from vae_zoo.distributions import check_latents, check_temperature, kl_per_dim, mean_of, score, tempered
from vae_zoo.elbo.importance import Draw, LogEvidence, estimate
from vae_zoo.elbo.terms import ELBO

__all__ = [
    "ELBO",
    "ELBOMixin",
    "check_condition",
    "check_number",
    "depends_on_condition",
    "has_density",
    "refuse_unused",
    "require_density",
]


class ELBOMixin(ABC):
    """A model with a posterior, a prior and a likelihood, and therefore a bound. It knows nothing of Lightning."""

    compiled: bool = False
    """Whether to compile the decoding, once for all numbers of samples and examples."""

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
        check_number("num_samples", num_samples, 1)
        q, p = self.encode(x, c), self.prior(c)
        check_latents(q, p, len(x))
        z = q.rsample((num_samples,))
        rates, curves = self.divergence(q, p, z)
        if rates.ndim != 2:
            raise ValueError(f"{type(self).__name__}.divergence must give (B, D) or (B, 1), gave {tuple(rates.shape)}.")
        log_px = _log_px(self, z, x, c)
        return ELBO(q=q, p=p, z=z, log_px=log_px, kl=rates.sum(1), rates=rates, curves=curves)

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
    def evidence(
        self,
        x: Tensor,
        c: Tensor | None = None,
        num_samples: int = 5000,
        chunk: int | None = None,
        memory: float | None = None,
    ) -> LogEvidence:
        """The estimate of :meth:`log_evidence` with its standard error and effective sample size, in one pass."""
        require_density(self)
        return estimate(self._weights, x, c, num_samples, chunk, memory)

    def _weights(self, x: Tensor, c: Tensor | None) -> Draw:
        """A function that draws importance weights p(x, z) / q(z|x) of these examples."""
        if getattr(self.elbo, "__func__", None) is not ELBOMixin.elbo:
            return lambda num: self.elbo(x, c, num).log_w  # its own terms may weight samples differently
        q, p = self.encode(x, c), self.prior(c)
        check_latents(q, p, len(x))

        def draw(num: int) -> Tensor:
            z = q.rsample((num,))
            fast = self.compiled and num > 1 and len(x) > 1  # a size of 1 would be compiled for itself
            log_px = (_compiled_log_px() if fast else _log_px)(self, z, x, c)
            return log_px + (p.log_prob(z) - q.log_prob(z))

        return draw

    @torch.no_grad()
    def sample(self, num: int, c: Tensor | None = None, *, mean: bool = True, temperature: float = 1.0) -> Tensor:
        """Draw latents from the model's own prior and decode them.

        Args:
            num: Number of samples.
            c: Conditions, (num, ...).
            mean: Whether to return the mean of p(x|z), as usual for pictures, or a draw from it.
            temperature: Factor on the spread of the prior: see :func:`~vae_zoo.distributions.tempered`.

        Returns:
            (num, \\*shape).

        Raises:
            ValueError: If the temperature is not positive and finite, or undefined for this prior; or if a
                condition is given and neither prior nor decoder uses it.
        """
        check_temperature(temperature)
        check_number("num", num)
        with refuse_unused(c, self):
            p = self.prior(c)
            if temperature != 1:
                p = tempered(p, temperature)
            z = p.sample((num,) if not p.batch_shape else ())
            px = self.decode(z, c)
        return mean_of(px, z.device) if mean else px.sample()


def _log_px(model: ELBOMixin, z: Tensor, x: Tensor, c: Tensor | None) -> Tensor:
    return score(model.decode(z, c), x, z.shape[:2])


@functools.cache
def _compiled_log_px() -> Callable[..., Tensor]:
    return torch.compile(_log_px, dynamic=True)


class _Watch(TorchFunctionMode):
    """Notices whether a tensor takes part in any computation."""

    def __init__(self, watched: Tensor) -> None:
        super().__init__()
        self.watched, self.seen = watched, False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        size = getattr(func, "__name__", "") == "__get__"  # its shape, type and device are no part of it
        self.seen = self.seen or (not size and any(part is self.watched for part in tree_leaves((args, kwargs))))
        return func(*args, **(kwargs or {}))


def check_number(name: str, number: int, least: int = 0) -> None:
    """Refuse an invalid number of samples.

    Raises:
        ValueError: With what was expected and what came.
    """
    if number % 1 or number < least:
        raise ValueError(f"{name} must be a whole number of at least {least}, got {number}.")


def check_condition(c: Any) -> None:
    """Refuse conditions other than tensors, such as a list of labels.

    Raises:
        ValueError: With what was expected and what came.
    """
    if not isinstance(c, Tensor):
        raise ValueError(f"c must be a tensor, as in torch.tensor([0, 1]), got a {type(c).__name__}.")


@contextmanager
def refuse_unused(c: Tensor | None, model: object) -> Iterator[None]:
    """Refuse a condition that the code in this context does not use: samples would not be of the chosen class.

    Raises:
        ValueError: If a condition is given and nothing has been computed from it.
    """
    if c is None:
        yield
        return
    check_condition(c)
    with _Watch(c) as watch:
        yield
    if not watch.seen:
        raise ValueError(
            f"{type(model).__name__} samples under no condition, got c of shape {tuple(c.shape)}: leave it out, or "
            "take a ConditionalVAE."
        )


@torch.no_grad()
def depends_on_condition(model: Any, c: Tensor) -> bool:
    """Whether samples of a model depend on conditions (B, ...); if not, those of the data are left out."""
    z = torch.zeros(len(c), *model.latent_shape, device=c.device)
    with _Watch(c) as watch:
        if isinstance(model, ELBOMixin):
            model.prior(c)
        if not watch.seen:
            model.decode(z, c)
    return watch.seen


def has_density(model: object) -> bool:
    """Whether the likelihood of a model gives log-densities, so that it has a bound and an evidence."""
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
