"""Features of VGG19."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vae_zoo.nn.features.images import ImageFeatures, cached, downloaded, load
from vae_zoo.system.tensors import read_tensors


class VGGFeatures(ImageFeatures):
    """Features relu1_1, relu2_1 and relu3_1 of VGG19, trained on ImageNet: those of VAE-123 of the paper on DFC-VAE.

    The weights are those of torchvision, read from its cache as tensors. Nothing is downloaded implicitly:
    :meth:`download` fetches the file once.

    References:
        | Very Deep Convolutional Networks for Large-Scale Image Recognition (Simonyan and Zisserman, 2015)
        | https://arxiv.org/abs/1409.1556

    Args:
        min_side: Pixels of the smaller side to which images are enlarged, at least 4: every layer has an output then.

    Raises:
        ValueError: If min_side is less than 4, or the file has other content.
        FileNotFoundError: If the weights have not been downloaded.

    Example:
        >>> features = VGGFeatures()  # doctest: +SKIP
        >>> [tuple(f.shape) for f in features(torch.rand(2, 1, 64, 64))]  # doctest: +SKIP
        [(2, 64, 64, 64), (2, 128, 32, 32), (2, 256, 16, 16)]
    """

    def __init__(self, *, min_side: int = 32) -> None:
        if min_side < 4:
            raise ValueError(f"min_side must be at least 4, got {min_side}.")
        super().__init__(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), min_side=min_side)
        path = self.weights_file()
        if not path.is_file():
            raise FileNotFoundError(
                f"VGG19's weights are not at {path}: run vae_zoo.nn.VGGFeatures.download() once, "
                "or choose EfficientNetFeatures."
            )
        with torch.device("meta"):
            self.network = nn.Sequential(
                *(nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU()),
                *(nn.MaxPool2d(2), nn.Conv2d(64, 128, 3, padding=1), nn.ReLU()),
                *(nn.Conv2d(128, 128, 3, padding=1), nn.ReLU()),
                *(nn.MaxPool2d(2), nn.Conv2d(128, 256, 3, padding=1), nn.ReLU()),
            )
        state = {name.removeprefix("features."): value for name, value in read_tensors(path, "VGG19").items()}
        load(self.network, state, path)

    @staticmethod
    def weights_file() -> Path:
        """Path of the downloaded weights, in torch's cache."""
        return cached(_weights().url)

    @classmethod
    def download(cls) -> Path:
        """Download the weights, 548 MB, unless they exist, and verify their hash.

        Returns:
            The file.
        """
        return downloaded(_weights().url)

    def layers(self, x: Tensor) -> list[Tensor]:
        found = []
        for number, layer in enumerate(self.network):
            x = layer(x)
            if number in (1, 6, 11):
                found.append(x)
        return found


def _weights() -> Any:
    from torchvision.models import VGG19_Weights

    return VGG19_Weights.IMAGENET1K_V1
