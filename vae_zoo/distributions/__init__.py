"""Distributions: families turn the output of a network into one, priors need none."""

from vae_zoo.distributions.divergence import kl
from vae_zoo.distributions.families import (
    Bernoulli,
    DiagonalNormal,
    Family,
    FixedNormal,
    Point,
    SharedNormal,
)
from vae_zoo.distributions.hierarchical import Hierarchical, combine
from vae_zoo.distributions.normal import Normal
from vae_zoo.distributions.priors import Prior, StandardNormal

__all__ = [
    "Bernoulli",
    "DiagonalNormal",
    "Family",
    "FixedNormal",
    "Hierarchical",
    "Normal",
    "Point",
    "Prior",
    "SharedNormal",
    "StandardNormal",
    "combine",
    "kl",
]
