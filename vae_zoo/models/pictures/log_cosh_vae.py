"""The log-cosh variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vae_zoo.distributions import Family, LogCosh
from vae_zoo.models.plain.vae import VAE
from vae_zoo.typing import Shape


class LogCoshVAE(VAE):
    r"""VAE whose reconstruction error is the logarithm of a hyperbolic cosine: quadratic when small, linear when large.

    .. math:: -\log p(x|z) = \sum_i \log \cosh \frac{x_i - \mu_i}{s} + D \log \pi s

    The paper's weight a of the argument is 1/s. Here the error is normalised, so that s can be learned and there
    is a bound on log p(x).

    When to use it:
        For real values with moderate outliers: large errors count linearly. With wild ones, take the likelihood
        ``StudentT``; without any, ``OptimalNormal``.

    References:
        | Log Hyperbolic Cosine Loss Improves Variational Auto-Encoder (Chen et al., 2019)
        | https://openreview.net/forum?id=rkglvsC9Ym

    Args:
        likelihood: Family of p(x|z).
        kwargs: Arguments of :class:`VAE`.
    """

    def __init__(self, *, likelihood: Callable[[Shape], Family] | None = LogCosh, **kwargs: Any) -> None:
        super().__init__(likelihood=likelihood, **kwargs)
