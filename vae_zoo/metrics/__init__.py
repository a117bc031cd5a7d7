"""Metrics over latents, factors and images."""

from vae_zoo.metrics.active_units import ActiveUnits
from vae_zoo.metrics.curves import Curves

__all__ = ["ActiveUnits", "Curves"]
