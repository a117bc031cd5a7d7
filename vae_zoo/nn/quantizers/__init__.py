"""Quantizers: from latents to discrete codes and back."""

from vae_zoo.nn.quantizers.base import Quantized, Quantizer
from vae_zoo.nn.quantizers.codebooks import Codebook, EMACodebook, SimVQ
from vae_zoo.nn.quantizers.composed import GroupedQuantizer, ResidualQuantizer
from vae_zoo.nn.quantizers.nearest import VectorQuantizer
from vae_zoo.nn.quantizers.relaxed import RelaxedResidualQuantizer
from vae_zoo.nn.quantizers.scalar import BSQ, FSQ, LFQ

__all__ = [
    "BSQ",
    "FSQ",
    "LFQ",
    "Codebook",
    "EMACodebook",
    "GroupedQuantizer",
    "Quantized",
    "Quantizer",
    "RelaxedResidualQuantizer",
    "ResidualQuantizer",
    "SimVQ",
    "VectorQuantizer",
]
