"""Models: one paper, one file."""

from typing import TYPE_CHECKING

from vae_zoo.system.lazy import lazily

if TYPE_CHECKING:
    from vae_zoo.models.base.autoencoder import Autoencoder
    from vae_zoo.models.codes.conditional_vqvae import ConditionalVQVAE
    from vae_zoo.models.codes.fsqvae import FSQVAE
    from vae_zoo.models.codes.grouped_vqvae import GroupedVQVAE
    from vae_zoo.models.codes.hrqvae import HRQVAE
    from vae_zoo.models.codes.lfqvae import LFQVAE
    from vae_zoo.models.codes.residual_vqvae import ResidualVQVAE
    from vae_zoo.models.codes.rotation_vqvae import RotationVQVAE
    from vae_zoo.models.codes.sim_vqvae import SimVQVAE
    from vae_zoo.models.codes.vqvae import VQVAE
    from vae_zoo.models.codes.vqvae2 import VQVAE2
    from vae_zoo.models.hierarchies.biva import BIVA
    from vae_zoo.models.hierarchies.ladder_vae import LadderVAE
    from vae_zoo.models.hierarchies.nvae import NVAE
    from vae_zoo.models.hierarchies.two_level_vae import TwoLevelVAE
    from vae_zoo.models.hierarchies.vdvae import VDVAE
    from vae_zoo.models.inference.hamiltonian_vae import HamiltonianVAE
    from vae_zoo.models.inference.rhvae import RHVAE
    from vae_zoo.models.latents.categorical_vae import CategoricalVAE
    from vae_zoo.models.latents.gamma_vae import GammaVAE
    from vae_zoo.models.latents.joint_vae import JointVAE
    from vae_zoo.models.latents.poincare_vae import PoincareVAE
    from vae_zoo.models.latents.svae import SVAE
    from vae_zoo.models.matching.aae import AAE, WAEGAN
    from vae_zoo.models.matching.dip_vae import DIPVAE
    from vae_zoo.models.matching.factor_vae import FactorVAE
    from vae_zoo.models.matching.info_vae import InfoVAE
    from vae_zoo.models.matching.rae import RAE, RAEGP, RAEL2, RAESN
    from vae_zoo.models.matching.swae import SWAE
    from vae_zoo.models.matching.wae import WAE
    from vae_zoo.models.objectives.annealed_vae import AnnealedVAE
    from vae_zoo.models.objectives.beta_tcvae import BetaTCVAE
    from vae_zoo.models.objectives.beta_vae import BetaVAE
    from vae_zoo.models.objectives.ciwae import CIWAE
    from vae_zoo.models.objectives.iwae import IWAE
    from vae_zoo.models.objectives.iwae_dreg import IWAEDReG
    from vae_zoo.models.objectives.miwae import MIWAE
    from vae_zoo.models.objectives.piwae import PIWAE
    from vae_zoo.models.pictures.dfc_vae import DFCVAE
    from vae_zoo.models.pictures.log_cosh_vae import LogCoshVAE
    from vae_zoo.models.pictures.msssim_vae import MSSSIMVAE
    from vae_zoo.models.pictures.vae_gan import VAEGAN
    from vae_zoo.models.plain.ae import AE
    from vae_zoo.models.plain.conditional_vae import ConditionalVAE
    from vae_zoo.models.plain.count_vae import CountVAE
    from vae_zoo.models.plain.denoising_vae import DenoisingVAE
    from vae_zoo.models.plain.prior_ae import PriorAE
    from vae_zoo.models.plain.sequence_vae import SequenceVAE
    from vae_zoo.models.plain.tvae import TVAE
    from vae_zoo.models.plain.vae import MLPVAE, VAE, ConvVAE
    from vae_zoo.models.priors.exemplar_vae import ExemplarVAE
    from vae_zoo.models.priors.flow_vae import FlowVAE
    from vae_zoo.models.priors.iaf_vae import IAFVAE
    from vae_zoo.models.priors.planar_vae import PlanarVAE
    from vae_zoo.models.priors.radial_vae import RadialVAE
    from vae_zoo.models.priors.sylvester_vae import SylvesterVAE
    from vae_zoo.models.priors.two_stage import TwoStageVAE
    from vae_zoo.models.priors.vade import VaDE
    from vae_zoo.models.priors.vamp_vae import VampVAE
    from vae_zoo.models.supervision.ada_vae import AdaGVAE, AdaMLVAE
    from vae_zoo.models.supervision.m2 import M2
    from vae_zoo.models.tokenizers.autoencoder_kl import AutoencoderKL
    from vae_zoo.models.tokenizers.vqgan import VQGAN

__getattr__, __dir__ = lazily(__name__, __file__)
__all__ = [
    "AAE",
    "AE",
    "BIVA",
    "CIWAE",
    "DFCVAE",
    "DIPVAE",
    "FSQVAE",
    "HRQVAE",
    "IAFVAE",
    "IWAE",
    "LFQVAE",
    "M2",
    "MIWAE",
    "MLPVAE",
    "MSSSIMVAE",
    "NVAE",
    "PIWAE",
    "RAE",
    "RAEGP",
    "RAEL2",
    "RAESN",
    "RHVAE",
    "SVAE",
    "SWAE",
    "TVAE",
    "VAE",
    "VAEGAN",
    "VDVAE",
    "VQGAN",
    "VQVAE",
    "VQVAE2",
    "WAE",
    "WAEGAN",
    "AdaGVAE",
    "AdaMLVAE",
    "AnnealedVAE",
    "Autoencoder",
    "AutoencoderKL",
    "BetaTCVAE",
    "BetaVAE",
    "CategoricalVAE",
    "ConditionalVAE",
    "ConditionalVQVAE",
    "ConvVAE",
    "CountVAE",
    "DenoisingVAE",
    "ExemplarVAE",
    "FactorVAE",
    "FlowVAE",
    "GammaVAE",
    "GroupedVQVAE",
    "HamiltonianVAE",
    "IWAEDReG",
    "InfoVAE",
    "JointVAE",
    "LadderVAE",
    "LogCoshVAE",
    "PlanarVAE",
    "PoincareVAE",
    "PriorAE",
    "RadialVAE",
    "ResidualVQVAE",
    "RotationVQVAE",
    "SequenceVAE",
    "SimVQVAE",
    "SylvesterVAE",
    "TwoLevelVAE",
    "TwoStageVAE",
    "VaDE",
    "VampVAE",
]
