"""Networks for pictures of real size."""

from vae_zoo.nn.pictures.residual import ResidualDecoder, ResidualEncoder, ResizeConv, ShuffleConv

__all__ = ["ResidualDecoder", "ResidualEncoder", "ResizeConv", "ShuffleConv"]
