"""Evaluation of densities: annealed importance sampling, and a check of its accuracy."""

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
