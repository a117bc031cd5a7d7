"""Metrics over latents, factors and images."""

from vae_zoo.metrics.active_units import ActiveUnits, InformativeUnits
from vae_zoo.metrics.aggregate_posterior import AggregatePosterior
from vae_zoo.metrics.clusters import ClusterAccuracy, ClusterARI, ClusterNMI
from vae_zoo.metrics.disentanglement.mutual_information_gap import MIG, Modularity, SampledMIG
from vae_zoo.metrics.disentanglement.predictors import DCI, SAP
from vae_zoo.metrics.disentanglement.votes import BetaVAEScore, FactorVAEScore
from vae_zoo.metrics.extractors import DataClassifier, InceptionFeatures
from vae_zoo.metrics.fidelity import FID, KID
from vae_zoo.metrics.logged_metrics import LoggedMetrics
from vae_zoo.metrics.prdc import PRDC
from vae_zoo.metrics.probes import AnomalyAUROC, KNNProbe, LinearProbe
from vae_zoo.metrics.rate_distortion import RateDistortion
from vae_zoo.metrics.reconstruction import PSNR, SSIM
from vae_zoo.metrics.space.grids import EquivarianceError, HighFrequency
from vae_zoo.metrics.space.neighbourhoods import Continuity

__all__ = [
    "DCI",
    "FID",
    "KID",
    "MIG",
    "PRDC",
    "PSNR",
    "SAP",
    "SSIM",
    "ActiveUnits",
    "AggregatePosterior",
    "AnomalyAUROC",
    "BetaVAEScore",
    "ClusterARI",
    "ClusterAccuracy",
    "ClusterNMI",
    "Continuity",
    "DataClassifier",
    "EquivarianceError",
    "FactorVAEScore",
    "HighFrequency",
    "InceptionFeatures",
    "InformativeUnits",
    "KNNProbe",
    "LinearProbe",
    "LoggedMetrics",
    "Modularity",
    "RateDistortion",
    "SampledMIG",
]

Curves = LoggedMetrics  # its name before
