"""Networks: factories (in_shape, out_shape) -> module with derived inner sizes; quantizers, code priors, schedules."""

from vae_zoo.nn.bounded import Bounded
from vae_zoo.nn.code_prior import CodePrior
from vae_zoo.nn.conv import ConvDecoder, ConvEncoder
from vae_zoo.nn.corruption import Corruption, Erasure, NormalNoise
from vae_zoo.nn.critic import ConvCritic, Critic
from vae_zoo.nn.dense import CountDecoder, Dense, Discriminator, LogDense, Narrow
from vae_zoo.nn.disentangling import BurgessDecoder, BurgessEncoder, SpatialBroadcastDecoder
from vae_zoo.nn.features import BackboneEncoder, EfficientNetFeatures, ImageFeatures, LPIPSFeatures, VGGFeatures
from vae_zoo.nn.frozen import frozen
from vae_zoo.nn.gated import GatedDense
from vae_zoo.nn.grid import GridDecoder, GridEncoder
from vae_zoo.nn.gyroplane import Gyroplane, GyroplaneDense
from vae_zoo.nn.hierarchies.maps import Bottleneck, Depthwise, Head, Stem
from vae_zoo.nn.language import CausalTransformer, LanguageModel, RecurrentDecoder, RecurrentEncoder
from vae_zoo.nn.pictures import (
    R1,
    LeCam,
    PatchDiscriminator,
    ResidualDecoder,
    ResidualEncoder,
    ResizeConv,
    Restraint,
    ShuffleConv,
)
from vae_zoo.nn.quantizers import (
    BSQ,
    FSQ,
    LFQ,
    Codebook,
    EMACodebook,
    GroupedQuantizer,
    Quantized,
    Quantizer,
    RelaxedResidualQuantizer,
    ResidualQuantizer,
    SimVQ,
    VectorQuantizer,
)
from vae_zoo.nn.schedules import Constant, Delayed, Exponential, Ramp, Schedule

__all__ = [
    "BSQ",
    "FSQ",
    "LFQ",
    "R1",
    "BackboneEncoder",
    "Bottleneck",
    "Bounded",
    "BurgessDecoder",
    "BurgessEncoder",
    "CausalTransformer",
    "CodePrior",
    "Codebook",
    "Constant",
    "ConvCritic",
    "ConvDecoder",
    "ConvEncoder",
    "Corruption",
    "CountDecoder",
    "Critic",
    "Delayed",
    "Dense",
    "Depthwise",
    "Discriminator",
    "EMACodebook",
    "EfficientNetFeatures",
    "Erasure",
    "Exponential",
    "GatedDense",
    "GridDecoder",
    "GridEncoder",
    "GroupedQuantizer",
    "Gyroplane",
    "GyroplaneDense",
    "Head",
    "ImageFeatures",
    "LPIPSFeatures",
    "LanguageModel",
    "LeCam",
    "LogDense",
    "Narrow",
    "NormalNoise",
    "PatchDiscriminator",
    "Quantized",
    "Quantizer",
    "Ramp",
    "RecurrentDecoder",
    "RecurrentEncoder",
    "RelaxedResidualQuantizer",
    "ResidualDecoder",
    "ResidualEncoder",
    "ResidualQuantizer",
    "ResizeConv",
    "Restraint",
    "Schedule",
    "ShuffleConv",
    "SimVQ",
    "SpatialBroadcastDecoder",
    "Stem",
    "VGGFeatures",
    "VectorQuantizer",
    "frozen",
]
