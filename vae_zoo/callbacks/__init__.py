"""Callbacks: annealing, pictures, evidence, predictions, reports."""

from vae_zoo.callbacks.annealed_sampling import AIS
from vae_zoo.callbacks.annealing import CyclicalAnnealing, LinearAnnealing
from vae_zoo.callbacks.code_prior import FitCodePrior
from vae_zoo.callbacks.collapse import CollapseWarning
from vae_zoo.callbacks.evidence import Evidence
from vae_zoo.callbacks.grids import ReconstructionGrid, SampleGrid, TraversalGrid
from vae_zoo.callbacks.output_bias import OutputBias
from vae_zoo.callbacks.predictions import PredictionWriter
from vae_zoo.callbacks.rate_decomposition import RateDecomposition
from vae_zoo.callbacks.report import Report

__all__ = [
    "AIS",
    "CollapseWarning",
    "CyclicalAnnealing",
    "Evidence",
    "FitCodePrior",
    "LinearAnnealing",
    "OutputBias",
    "PredictionWriter",
    "RateDecomposition",
    "ReconstructionGrid",
    "Report",
    "SampleGrid",
    "TraversalGrid",
]
