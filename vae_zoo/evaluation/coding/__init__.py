"""Lossless compression by a model with a bound: bits-back coding, by which the negative bound is a code length."""

from vae_zoo.evaluation.coding.bits_back import Codec, Coded, refusal
from vae_zoo.evaluation.coding.files import read_coded, write_coded

__all__ = ["Codec", "Coded", "read_coded", "refusal", "write_coded"]
