"""Convolutional networks, for images of any size and number of channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Tensor, nn

from vae_zoo.nn.halving import Size, geometry, halved
from vae_zoo.typing import Shape


class ConvEncoder(nn.Module):
    """Convolutions that each halve the image, then dense layers, with He initialisation.

    References:
        | Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification (He et al., 2015)
        | https://arxiv.org/abs/1502.01852

    Args:
        in_shape: Shape of one image, (C, H, W).
        out_shape: Shape of one output.
        channels: Channels after each convolution.
        hidden: Width of the dense layer between the convolutions and the output.
        activation: Class of the activation after each layer.

    Raises:
        ValueError: If in_shape is not that of an image, or a width is less than 1.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        channels: Sequence[int] = (32, 64, 128),
        hidden: int = 256,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        sizes = sizes_of(in_shape, channels, hidden)
        self.out_shape = tuple(out_shape)
        layers: list[nn.Module] = []
        for (c_in, size_in), (c_out, size_out) in pairwise(zip((in_shape[0], *channels), sizes, strict=True)):
            kernel, stride, _ = geometry(size_in, size_out)
            layers += [nn.Conv2d(c_in, c_out, kernel, stride, padding=1), activation()]
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(channels[-1] * math.prod(sizes[-1]), hidden),
            activation(),
            nn.Linear(hidden, math.prod(out_shape)),
        )
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, *out_shape)."""
        return self.layers(x).unflatten(-1, self.out_shape)


class ConvDecoder(nn.Module):
    """The mirror of :class:`ConvEncoder`: dense layers, then transposed convolutions that each double the image.

    Args:
        in_shape: Shape of one latent.
        out_shape: Shape of the parameters of one image, (\\*params, C, H, W).
        channels: Channels before each transposed convolution, from image to latent as in the encoder.
        hidden: Width of the dense layer between the latent and the convolutions.
        activation: Class of the activation after each layer.

    Raises:
        ValueError: If out_shape is not that of an image, or a width is less than 1.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        channels: Sequence[int] = (32, 64, 128),
        hidden: int = 256,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        sizes = sizes_of(out_shape[-3:], channels, hidden)[::-1]
        self.out_shape = tuple(out_shape)
        layers: list[nn.Module] = []
        widths = (*channels[::-1], math.prod(out_shape[:-2]))
        for (c_in, size_in), (c_out, size_out) in pairwise(zip(widths, sizes, strict=True)):
            kernel, stride, extra = geometry(size_out, size_in)
            layers += [activation(), nn.ConvTranspose2d(c_in, c_out, kernel, stride, padding=1, output_padding=extra)]
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(in_shape), hidden),
            activation(),
            nn.Linear(hidden, channels[-1] * math.prod(sizes[0])),
            nn.Unflatten(-1, (channels[-1], *sizes[0])),
            *layers,
        )
        initialize(self)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(z).unflatten(1, self.out_shape[:-2])


def sizes_of(image: Shape, channels: Sequence[int], hidden: int) -> list[Size]:
    """Height and width before and after each convolution."""
    check_widths(image, channels, hidden)
    sizes = [(image[1], image[2])]
    for _ in channels:
        sizes.append(halved(sizes[-1]))
    return sizes


def check_widths(image: Shape, channels: Sequence[int], hidden: int | None = None) -> None:
    """Refuse examples that are no images, and widths below 1.

    Raises:
        ValueError: With what was expected and what came.
    """
    if len(image) != 3:
        raise ValueError(f"a convolutional network needs images (C, H, W), got shape {tuple(image)}: use Dense.")
    if not channels or min([*channels, 1 if hidden is None else hidden]) < 1:
        names = "channels" if hidden is None else "channels and hidden"
        raise ValueError(
            f"{names} must be at least 1, got {list(channels)}" + ("." if hidden is None else f" and {hidden}.")
        )


def initialize(network: nn.Module) -> None:
    """Normal weights of variance 2 / fan-in.

    torch's default variance is a sixth of that or less, with which the output of a deep network hardly depends on its
    input, and a VAE starts close to a collapse.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            fan_in = layer.weight[0].numel()
        elif isinstance(layer, nn.ConvTranspose2d):  # of its kernel, a pixel meets one entry in as many as the stride
            fan_in = layer.in_channels * math.prod(layer.kernel_size) // math.prod(layer.stride)
        else:
            continue
        nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
