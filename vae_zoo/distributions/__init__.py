"""Distributions: families turn the output of a network into one, priors need none."""

from vae_zoo.distributions.divergence import kl, kl_per_dim
from vae_zoo.distributions.families import (
    Bernoulli,
    DiagonalNormal,
    Family,
    FixedNormal,
    Point,
    SharedNormal,
)
from vae_zoo.distributions.mixture import Mixture
from vae_zoo.distributions.normal import Normal
from vae_zoo.distributions.priors import Prior, StandardNormal

__all__ = [
    "Bernoulli",
    "DiagonalNormal",
    "Family",
    "FixedNormal",
    "Mixture",
    "Normal",
    "Point",
    "Prior",
    "SharedNormal",
    "StandardNormal",
    "kl",
    "kl_per_dim",
]
