"""Callbacks: annealing, pictures, evidence, predictions, reports."""

from vae_zoo.callbacks.annealing import CyclicalAnnealing, LinearAnnealing
from vae_zoo.callbacks.checkpointing.saving import BestCheckpoint, LastCheckpoint
from vae_zoo.callbacks.code_prior import FitCodePrior
from vae_zoo.callbacks.controlled_rate import ControlledRate
from vae_zoo.callbacks.evaluation.annealed_sampling import AIS
from vae_zoo.callbacks.evaluation.clusters import Clusters
from vae_zoo.callbacks.evaluation.collapse import CollapseWarning
from vae_zoo.callbacks.evaluation.disentanglement import Disentanglement
from vae_zoo.callbacks.evaluation.evidence import Evidence
from vae_zoo.callbacks.evaluation.fidelity import Fidelity, Reconstructions
from vae_zoo.callbacks.evaluation.latent_space import LatentSpace
from vae_zoo.callbacks.evaluation.latent_statistics import LatentStatistics
from vae_zoo.callbacks.evaluation.probes import Anomaly, Probes
from vae_zoo.callbacks.evaluation.rate_decomposition import RateDecomposition
from vae_zoo.callbacks.evaluation.report import Report
from vae_zoo.callbacks.gradient_skip import GradientSkip
from vae_zoo.callbacks.nan_guard import NaNGuard
from vae_zoo.callbacks.output_bias import OutputBias
from vae_zoo.callbacks.pictures.grids import ReconstructionGrid, SampleGrid, TraversalGrid
from vae_zoo.callbacks.pictures.latent_scatter import LatentScatter
from vae_zoo.callbacks.predictions import PredictionWriter
from vae_zoo.callbacks.progress import TimedProgressBar
from vae_zoo.callbacks.rank_watch import RankWatch
from vae_zoo.callbacks.second_stage import FitSecondStage
from vae_zoo.callbacks.start_from import StartFrom

__all__ = [
    "AIS",
    "Anomaly",
    "BestCheckpoint",
    "Clusters",
    "CollapseWarning",
    "ControlledRate",
    "CyclicalAnnealing",
    "Disentanglement",
    "Evidence",
    "Fidelity",
    "FitCodePrior",
    "FitSecondStage",
    "GradientSkip",
    "LastCheckpoint",
    "LatentScatter",
    "LatentSpace",
    "LatentStatistics",
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
