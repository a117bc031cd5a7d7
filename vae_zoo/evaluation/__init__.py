"""Evaluation of densities: annealed importance sampling, and what it is worth."""

from vae_zoo.evaluation.ais import ais
from vae_zoo.evaluation.bidirectional import Sandwich, bidirectional
from vae_zoo.evaluation.schedules import Schedule, linear, sigmoid

__all__ = [
    "Sandwich",
    "Schedule",
    "ais",
    "bidirectional",
    "linear",
    "sigmoid",
]
