"""Metrics over latents, factors and images."""

from vae_zoo.metrics.active_units import ActiveUnits
from vae_zoo.metrics.aggregate_posterior import AggregatePosterior
from vae_zoo.metrics.curves import Curves
from vae_zoo.metrics.rate_distortion import RateDistortion

__all__ = [
    "ActiveUnits",
    "AggregatePosterior",
    "Curves",
    "RateDistortion",
]
