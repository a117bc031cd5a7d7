"""Networks: factories (in_shape, out_shape) -> module, every inner size derived from the two; and parts over codes."""

from vae_zoo.nn.code_prior import CodePrior
from vae_zoo.nn.conv import ConvDecoder, ConvEncoder
from vae_zoo.nn.dense import Dense
from vae_zoo.nn.grid import GridDecoder, GridEncoder
from vae_zoo.nn.quantizers import Codebook, EMACodebook, Quantized, Quantizer

__all__ = [
    "CodePrior",
    "Codebook",
    "ConvDecoder",
    "ConvEncoder",
    "Dense",
    "EMACodebook",
    "GridDecoder",
    "GridEncoder",
    "Quantized",
    "Quantizer",
]
