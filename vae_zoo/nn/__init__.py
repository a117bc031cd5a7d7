"""Networks: factories (in_shape, out_shape) -> module, every inner size derived from the two."""

from vae_zoo.nn.conv import ConvDecoder, ConvEncoder
from vae_zoo.nn.dense import Dense

__all__ = ["ConvDecoder", "ConvEncoder", "Dense"]
