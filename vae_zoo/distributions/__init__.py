"""Distributions: families turn the output of a network into one, priors need none."""

from vae_zoo.distributions.continuous import (
    ContinuousBernoulli,
    FixedLaplace,
    LogCosh,
    SharedLaplace,
    StudentT,
)
from vae_zoo.distributions.discrete import (
    Categorical,
    DiscretizedLogistic,
    MixtureOfDiscretizedLogistics,
)
from vae_zoo.distributions.divergence import kl
from vae_zoo.distributions.energies import MSSSIM, Perceptual
from vae_zoo.distributions.families import (
    Bernoulli,
    DiagonalNormal,
    Family,
    FixedNormal,
    Point,
    SharedNormal,
)
from vae_zoo.distributions.normal import Normal
from vae_zoo.distributions.optimal import OptimalNormal
from vae_zoo.distributions.priors import Prior, StandardNormal

__all__ = [
    "MSSSIM",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "Family",
    "FixedLaplace",
    "FixedNormal",
    "LogCosh",
    "MixtureOfDiscretizedLogistics",
    "Normal",
    "OptimalNormal",
    "Perceptual",
    "Point",
    "Prior",
    "SharedLaplace",
    "SharedNormal",
    "StandardNormal",
    "StudentT",
    "kl",
]
