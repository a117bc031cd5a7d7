"""The zoo: one paper, one file."""

from vae_zoo.models.ae import AE
from vae_zoo.models.base import Autoencoder
from vae_zoo.models.beta_vae import BetaVAE
from vae_zoo.models.flow_vae import FlowVAE
from vae_zoo.models.iwae import IWAE
from vae_zoo.models.vae import MLPVAE, VAE, ConvVAE

__all__ = ["AE", "IWAE", "MLPVAE", "VAE", "Autoencoder", "BetaVAE", "ConvVAE", "FlowVAE"]
