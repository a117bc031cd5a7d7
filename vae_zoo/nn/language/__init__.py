"""Networks of sequences: recurrent encoders, and distributions of the next token."""

from vae_zoo.nn.language.base import LanguageModel
from vae_zoo.nn.language.recurrent import RecurrentDecoder, RecurrentEncoder
from vae_zoo.nn.language.transformer import CausalTransformer

__all__ = ["CausalTransformer", "LanguageModel", "RecurrentDecoder", "RecurrentEncoder"]
