"""Networks of sequences: recurrent encoders, and distributions of the next token."""

from vae_zoo.nn.language.base import LanguageModel
from vae_zoo.nn.language.recurrent import RecurrentDecoder, RecurrentEncoder
from vae_zoo.nn.language.transformer import TransformerDecoder

__all__ = ["LanguageModel", "RecurrentDecoder", "RecurrentEncoder", "TransformerDecoder"]
