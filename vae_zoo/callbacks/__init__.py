"""Callbacks: annealing, pictures, evidence, predictions, reports."""

from vae_zoo.callbacks.annealed_sampling import AIS
from vae_zoo.callbacks.annealing import CyclicalAnnealing, LinearAnnealing
from vae_zoo.callbacks.code_prior import FitCodePrior
from vae_zoo.callbacks.collapse import CollapseWarning
from vae_zoo.callbacks.disentanglement import Disentanglement
from vae_zoo.callbacks.evidence import Evidence
from vae_zoo.callbacks.fidelity import Fidelity, Reconstructions
from vae_zoo.callbacks.grids import ReconstructionGrid, SampleGrid, TraversalGrid
from vae_zoo.callbacks.latent_scatter import LatentScatter
from vae_zoo.callbacks.nan_guard import NaNGuard
from vae_zoo.callbacks.output_bias import OutputBias
from vae_zoo.callbacks.predictions import PredictionWriter
from vae_zoo.callbacks.probes import Anomaly, Probes
from vae_zoo.callbacks.progress import TimedProgressBar
from vae_zoo.callbacks.rank_watch import RankWatch
from vae_zoo.callbacks.rate_decomposition import RateDecomposition
from vae_zoo.callbacks.report import Report
from vae_zoo.callbacks.saving import BestCheckpoint, LastCheckpoint
from vae_zoo.callbacks.start_from import StartFrom

__all__ = [
    "AIS",
    "Anomaly",
    "BestCheckpoint",
    "CollapseWarning",
    "CyclicalAnnealing",
    "Disentanglement",
    "Evidence",
    "Fidelity",
    "FitCodePrior",
    "LastCheckpoint",
    "LatentScatter",
    "LinearAnnealing",
    "NaNGuard",
    "OutputBias",
    "PredictionWriter",
    "Probes",
    "RankWatch",
    "RateDecomposition",
    "ReconstructionGrid",
    "Reconstructions",
    "Report",
    "SampleGrid",
    "StartFrom",
    "TimedProgressBar",
    "TraversalGrid",
]
