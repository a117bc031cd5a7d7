"""Likelihoods of continuous values: on [0, 1], and with heavier tails than the normal."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from vae_zoo.distributions.families import Family, log_of_scale
from vae_zoo.distributions.likelihoods import elementary
from vae_zoo.distributions.likelihoods.elementary import HyperbolicSecant
from vae_zoo.distributions.normal import independent
from vae_zoo.typing import Shape


class ContinuousBernoulli(Family):
    r"""Independent values in [0, 1] with logits: the Bernoulli formula, normalised as a density of grey levels.

    .. math:: \log p(x|z) = \sum_i x_i l_i - \log \frac{e^{l_i} - 1}{l_i}

    References:
        | The Continuous Bernoulli: Fixing a Pervasive Error in Variational Autoencoders (Loaiza-Ganem et al., 2019)
        | https://arxiv.org/abs/1907.06845

    Args:
        shape: Shape of one event.
    """

    support = constraints.interval(0.0, 1.0)
    advice = "divide 8-bit images by 255 and do not normalise them, or choose a likelihood such as SharedNormal"

    def distribution(self, params: Tensor) -> Distribution:
        return independent(elementary.ContinuousBernoulli(params), len(self.shape))


class FixedLaplace(Family):
    r"""Independent Laplace values with one fixed scale: the likelihood that corresponds to the absolute error.

    .. math:: \log p(x|z) = -\sum_i \frac{|x_i - \mu_i|}{s} - D \log 2 s

    Args:
        shape: Shape of one event.
        scale: Scale s, the mean absolute error.

    Raises:
        ValueError: If scale is not positive and finite.
    """

    shares_scale = True

    def __init__(self, shape: Shape, *, scale: float = 0.1) -> None:
        super().__init__(shape)
        self.scale = math.exp(log_of_scale(scale))

    def distribution(self, params: Tensor) -> Distribution:
        return _laplace(params, torch.full_like(params, self.scale), len(self.shape))


class _Shared(Family):
    """Base of families with one scale that is learned with the network.

    Args:
        shape: Shape of one event.
        scale: Initial scale.
    """

    shares_scale = True

    def __init__(self, shape: Shape, *, scale: float = 0.5) -> None:
        super().__init__(shape)
        self.log_scale = nn.Parameter(torch.tensor(log_of_scale(scale)))


class SharedLaplace(_Shared):
    """Independent Laplace values with one scale, learned with the network and shared by all dimensions and examples.

    Args:
        shape: Shape of one event.
        scale: Scale to start from.

    Raises:
        ValueError: If scale is not positive and finite.
    """

    def distribution(self, params: Tensor) -> Distribution:
        scale = self.log_scale.to(params.dtype).exp().expand_as(params)
        return _laplace(params, scale, len(self.shape))


class StudentT(_Shared):
    r"""Independent values of Student's t-distribution with one learned scale, robust against outliers.

    .. math:: \log p(x|z) = \sum_i \log \frac{\Gamma(\frac{\nu + 1}{2})}{\Gamma(\frac{\nu}{2}) \sqrt{\pi \nu} \, s}
        - \frac{\nu + 1}{2} \log \Big( 1 + \frac{(x_i - \mu_i)^2}{\nu s^2} \Big)

    Args:
        shape: Shape of one event.
        scale: Initial scale s; the standard deviation is s √(ν / (ν − 2)).
        df: Degrees of freedom ν, or their initial value.
        learn_df: Whether ν is learned with the network, and kept above 2.

    Raises:
        ValueError: If scale is not positive and finite, or df is not above 2 and finite.
    """

    def __init__(self, shape: Shape, *, scale: float = 0.5, df: float = 5.0, learn_df: bool = False) -> None:
        super().__init__(shape, scale=scale)
        if not (df > 2 and math.isfinite(df)):
            raise ValueError(f"df must be above 2, for there to be a variance, and finite, got {df}.")
        excess = math.log(df - 2)
        self.log_excess_df: Any = nn.Parameter(torch.tensor(excess)) if learn_df else excess

    def distribution(self, params: Tensor) -> Distribution:
        excess = torch.as_tensor(self.log_excess_df, dtype=params.dtype, device=params.device)
        df = (2 + excess.exp()).expand_as(params)
        scale = self.log_scale.to(params.dtype).exp().expand_as(params)
        return independent(elementary.StudentT(df, params, scale, validate_args=False), len(self.shape))


class LogCosh(_Shared):
    r"""Independent values of the hyperbolic secant distribution: the likelihood that corresponds to the log-cosh error.

    It resembles a normal distribution for errors well below the scale, and a Laplace distribution well above.

    .. math:: \log p(x|z) = -\sum_i \log \cosh \frac{x_i - \mu_i}{s} - D \log \pi s

    Args:
        shape: Shape of one event.
        scale: Initial scale s; the standard deviation is s π / 2.

    Raises:
        ValueError: If scale is not positive and finite.
    """

    def distribution(self, params: Tensor) -> Distribution:
        return independent(HyperbolicSecant(params, self.log_scale.to(params.dtype)), len(self.shape))


def _laplace(loc: Tensor, scale: Tensor, event_dims: int) -> Distribution:
    return independent(torch.distributions.Laplace(loc, scale, validate_args=False), event_dims)
