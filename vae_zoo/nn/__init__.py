"""Networks: factories (in_shape, out_shape) -> module that derive all inner sizes; codebooks and priors over codes."""

from vae_zoo.nn.bounded import Bounded
from vae_zoo.nn.code_prior import CodePrior
from vae_zoo.nn.codebooks import Codebook, EMACodebook
from vae_zoo.nn.conv import ConvDecoder, ConvEncoder
from vae_zoo.nn.dense import Dense, Discriminator
from vae_zoo.nn.gated import GatedDense
from vae_zoo.nn.grid import GridDecoder, GridEncoder
from vae_zoo.nn.quantizers import Quantized, Quantizer

__all__ = [
    "Bounded",
    "CodePrior",
    "Codebook",
    "ConvDecoder",
    "ConvEncoder",
    "Dense",
    "Discriminator",
    "EMACodebook",
    "GatedDense",
    "GridDecoder",
    "GridEncoder",
    "Quantized",
    "Quantizer",
]
