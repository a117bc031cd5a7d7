"""Features of VGG networks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vae_zoo.nn.features.images import ImageFeatures, cached, downloaded, load
from vae_zoo.system.tensors import read_tensors


class VGG(ImageFeatures):
    """Base of features of a VGG network, by the weights of torchvision: they are downloaded once, and on request.

    Args:
        min_side: Pixels of the smaller side to which images are enlarged.
        least: Smallest min_side, with which every layer has an output.

    Raises:
        ValueError: If min_side is less than the smallest.
    """

    depth: int
    """Number of layers with weights, which is in the network's name."""

    def __init__(self, *, min_side: int, least: int) -> None:
        if min_side < least:
            raise ValueError(f"min_side must be at least {least}, got {min_side}.")
        super().__init__(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), min_side=min_side)

    @classmethod
    def _url(cls) -> str:
        from torchvision.models import get_model_weights

        url: str = get_model_weights(f"vgg{cls.depth}").IMAGENET1K_V1.url
        return url

    @classmethod
    def weights_file(cls) -> Path:
        """Path of the downloaded weights, in torch's cache."""
        return cached(cls._url())

    @classmethod
    def download(cls) -> Path:
        """Download the weights, over 500 MB, unless they exist, and verify their hash.

        Returns:
            The file.
        """
        return downloaded(cls._url())

    def convolutions(self, channels: Sequence[int], numbers: Sequence[int]) -> nn.Sequential:
        """The first blocks of the network with their weights, numbered as in torchvision.

        Args:
            channels: Channels of each block.
            numbers: Number of convolutions of each.

        Raises:
            FileNotFoundError: If the weights have not been downloaded.
            ValueError: If the file has other content.
        """
        path, name, network = self.weights_file(), type(self).__name__, f"VGG{self.depth}"
        if not path.is_file():
            raise FileNotFoundError(
                f"{network}'s weights are not at {path}: run vae_zoo.nn.{name}.download() once, "
                "or choose EfficientNetFeatures."
            )
        layers: list[nn.Module] = []
        before = 3
        with torch.device("meta"):
            for width, number in zip(channels, numbers, strict=True):
                layers += [nn.MaxPool2d(2)] * bool(layers)
                for _ in range(number):
                    layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
                    before = width
        found = nn.Sequential(*layers)
        load(found, {key.removeprefix("features."): value for key, value in read_tensors(path, network).items()}, path)
        return found


class VGGFeatures(VGG):
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

    depth = 19

    def __init__(self, *, min_side: int = 32) -> None:
        super().__init__(min_side=min_side, least=4)
        self.network = self.convolutions((64, 128, 256), (2, 2, 1))

    def layers(self, x: Tensor) -> list[Tensor]:
        found = []
        for number, layer in enumerate(self.network):
            x = layer(x)
            if number in (1, 6, 11):
                found.append(x)
        return found
