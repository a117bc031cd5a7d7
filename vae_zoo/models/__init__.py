"""The zoo: one paper, one file."""

from vae_zoo.models.ae import AE
from vae_zoo.models.base import Autoencoder
from vae_zoo.models.beta_tcvae import BetaTCVAE
from vae_zoo.models.beta_vae import BetaVAE
from vae_zoo.models.ciwae import CIWAE
from vae_zoo.models.conditional_vae import ConditionalVAE
from vae_zoo.models.factor_vae import FactorVAE
from vae_zoo.models.flow_vae import FlowVAE
from vae_zoo.models.iwae import IWAE
from vae_zoo.models.iwae_dreg import IWAEDReG
from vae_zoo.models.ladder_vae import LadderVAE
from vae_zoo.models.vae import MLPVAE, VAE, ConvVAE
from vae_zoo.models.vamp_vae import VampVAE
from vae_zoo.models.vqvae import VQVAE

__all__ = [
    "AE",
    "CIWAE",
    "IWAE",
    "MLPVAE",
    "VAE",
    "VQVAE",
    "Autoencoder",
    "BetaTCVAE",
    "BetaVAE",
    "ConditionalVAE",
    "ConvVAE",
    "FactorVAE",
    "FlowVAE",
    "IWAEDReG",
    "LadderVAE",
    "VampVAE",
]
