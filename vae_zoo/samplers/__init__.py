"""Distributions that are fitted to the latents of a trained model, as priors to sample from."""

from vae_zoo.samplers.codes import CodeDensity
from vae_zoo.samplers.density import Density
from vae_zoo.samplers.flows import MAF, Spline
from vae_zoo.samplers.gmm import GMM
from vae_zoo.samplers.kde import KDE
from vae_zoo.samplers.latents import latents
from vae_zoo.samplers.manifold import Manifold
from vae_zoo.samplers.normal import FittedNormal
from vae_zoo.samplers.replacing import check_replaceable, with_prior
from vae_zoo.samplers.two_stage import TwoStage

__all__ = [
    "GMM",
    "KDE",
    "MAF",
    "CodeDensity",
    "Density",
    "FittedNormal",
    "Manifold",
    "Spline",
    "TwoStage",
    "check_replaceable",
    "latents",
    "with_prior",
]
