"""Features of images by networks trained to classify photographs, which energies compare pictures by."""

from vae_zoo.nn.features.backbone import BackboneEncoder
from vae_zoo.nn.features.efficientnet import EfficientNetFeatures
from vae_zoo.nn.features.images import ImageFeatures
from vae_zoo.nn.features.lpips import LPIPSFeatures
from vae_zoo.nn.features.vgg import VGGFeatures

__all__ = ["BackboneEncoder", "EfficientNetFeatures", "ImageFeatures", "LPIPSFeatures", "VGGFeatures"]
