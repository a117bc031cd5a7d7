"""Networks: factories (in_shape, out_shape) -> module, every inner size derived from the two."""

from vae_zoo.nn.bounded import Bounded
from vae_zoo.nn.conv import ConvDecoder, ConvEncoder
from vae_zoo.nn.dense import Dense, Discriminator
from vae_zoo.nn.gated import GatedDense

__all__ = ["Bounded", "ConvDecoder", "ConvEncoder", "Dense", "Discriminator", "GatedDense"]
