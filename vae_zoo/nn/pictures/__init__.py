"""Networks for pictures of real size."""

from vae_zoo.nn.pictures.patches import R1, LeCam, PatchDiscriminator, Restraint
from vae_zoo.nn.pictures.residual import ResidualDecoder, ResidualEncoder, ResizeConv, ShuffleConv

__all__ = [
    "R1",
    "LeCam",
    "PatchDiscriminator",
    "ResidualDecoder",
    "ResidualEncoder",
    "ResizeConv",
    "Restraint",
    "ShuffleConv",
]
