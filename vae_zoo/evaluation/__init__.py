"""Evaluation of densities: annealed importance sampling, a check of its accuracy, conformal p-values."""

from vae_zoo.evaluation.ais import ais
from vae_zoo.evaluation.bidirectional import Sandwich, bidirectional
from vae_zoo.evaluation.conformal import p_values, threshold
from vae_zoo.evaluation.gaps import Gaps, inference_gaps
from vae_zoo.evaluation.latents import latent_scale
from vae_zoo.evaluation.regret import likelihood_regret
from vae_zoo.evaluation.schedules import Schedule, linear, sigmoid

__all__ = [
    "Gaps",
    "Sandwich",
    "Schedule",
    "ais",
    "bidirectional",
    "inference_gaps",
    "latent_scale",
    "likelihood_regret",
    "linear",
    "p_values",
    "sigmoid",
    "threshold",
]
