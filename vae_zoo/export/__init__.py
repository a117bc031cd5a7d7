"""Export of models for use without vae_zoo."""

from vae_zoo.export.formats import FORMATS, Exported, export
from vae_zoo.export.parts import DecoderPart, EncoderPart, program

__all__ = ["FORMATS", "DecoderPart", "EncoderPart", "Exported", "export", "program"]
