"""Convolutional networks, for sequences, images and volumes of any size and number of channels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from vae_zoo.nn.halving import Size, geometry, halved
from vae_zoo.typing import Shape

CONVOLUTIONS: dict[int, tuple[Callable[..., Any], Callable[..., Any]]] = {
    1: (nn.Conv1d, nn.ConvTranspose1d),
    2: (nn.Conv2d, nn.ConvTranspose2d),
    3: (nn.Conv3d, nn.ConvTranspose3d),
}
"""Convolutions and transposed ones, by the number of sides of an example besides its channels."""


class ConvEncoder(nn.Module):
    """Convolutions that each halve every side of an example, then dense layers, with He initialisation.

    Examples are sequences (C, L), images (C, H, W) or volumes (C, D, H, W), and the convolutions of one, two or three
    dimensions.

    References:
        | Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification (He et al., 2015)
        | https://arxiv.org/abs/1502.01852

    Args:
        in_shape: Shape of one example, (C, L), (C, H, W) or (C, D, H, W).
        out_shape: Shape of one output.
        channels: Channels after each convolution.
        hidden: Width of the dense layer between the convolutions and the output.
        activation: Class of the activation after each layer.

    Raises:
        ValueError: If in_shape is that of a vector, or a width is less than 1.
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
        convolution, _ = CONVOLUTIONS[len(in_shape) - 1]
        self.out_shape = tuple(out_shape)
        layers: list[nn.Module] = []
        for (c_in, size_in), (c_out, size_out) in pairwise(zip((in_shape[0], *channels), sizes, strict=True)):
            kernel, stride, _ = geometry(size_in, size_out)
            layers += [convolution(c_in, c_out, kernel, stride, padding=1), activation()]
        self.layers = nn.Sequential(
            *layers,
            nn.Flatten(),
            nn.Linear(channels[-1] * math.prod(sizes[-1]), hidden),
            activation(),
            nn.Linear(hidden, math.prod(out_shape)),
        )
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(x).unflatten(-1, self.out_shape)


class ConvDecoder(nn.Module):
    """The mirror of :class:`ConvEncoder`: dense layers, then transposed convolutions that each double every side.

    Args:
        in_shape: Shape of one latent.
        out_shape: Shape of the parameters of one example, (\\*params, C, \\*sides).
        channels: Channels before each transposed convolution, from example to latent as in the encoder.
        hidden: Width of the dense layer between the latent and the convolutions.
        activation: Class of the activation after each layer.
        num_sides: Number of sides of an example, from 1 for sequences to 3 for volumes; supplied by the model. The
            shape of the parameters does not tell: (2, 3, 16, 16) are two parameters of an image, or one of a volume.

    Raises:
        ValueError: If examples are vectors, or a width is less than 1.
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        channels: Sequence[int] = (32, 64, 128),
        hidden: int = 256,
        activation: Callable[[], nn.Module] = nn.ReLU,
        num_sides: int = 2,
    ) -> None:
        super().__init__()
        example = tuple(out_shape[-1 - num_sides :])
        check_sides(example, num_sides)
        sizes = sizes_of(example, channels, hidden)[::-1]
        _, transposed = CONVOLUTIONS[num_sides]
        self.front = tuple(out_shape[:-num_sides])
        layers: list[nn.Module] = []
        widths = (*channels[::-1], math.prod(self.front))
        for (c_in, size_in), (c_out, size_out) in pairwise(zip(widths, sizes, strict=True)):
            kernel, stride, extra = geometry(size_out, size_in)
            layers += [activation(), transposed(c_in, c_out, kernel, stride, padding=1, output_padding=extra)]
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
        return self.layers(z).unflatten(1, self.front)


def sizes_of(shape: Shape, channels: Sequence[int], hidden: int) -> list[Size]:
    """Sides of an example before and after each convolution."""
    check_sides(shape)
    check_widths(channels, hidden)
    sizes: list[Size] = [tuple(shape[1:])]
    for _ in channels:
        sizes.append(halved(sizes[-1]))
    return sizes


def check_sides(shape: Shape, num_sides: int | None = None) -> None:
    """Refuse vectors, and examples with another number of sides than a decoder was made for.

    Raises:
        ValueError: If the shape has no sides, or another number of them than num_sides.
    """
    if len(shape) - 1 not in CONVOLUTIONS:
        raise ValueError(
            "a convolutional network needs sequences (C, L), images (C, H, W) or volumes (C, D, H, W), got shape "
            f"{tuple(shape)}: use Dense."
        )
    if num_sides is not None and len(shape) != num_sides + 1:
        raise ValueError(f"num_sides {num_sides} does not fit a shape of {tuple(shape)}: give {len(shape) - 1}.")


def check_image(shape: Shape) -> None:
    """Refuse examples other than images.

    Raises:
        ValueError: If the shape is not (C, H, W).
    """
    if len(shape) != 3:
        raise ValueError(f"this convolutional network needs images (C, H, W), got shape {tuple(shape)}: use Dense.")


def check_widths(channels: Sequence[int], hidden: int | None = None) -> None:
    """Refuse widths below 1.

    Raises:
        ValueError: If a width is less than 1.
    """
    if not channels or min([*channels, 1 if hidden is None else hidden]) < 1:
        names = "channels" if hidden is None else "channels and hidden"
        raise ValueError(
            f"{names} must be at least 1, got {list(channels)}" + ("." if hidden is None else f" and {hidden}.")
        )


_DIRECT = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)

LINEAR = (*_DIRECT, *_TRANSPOSED)
"""Layers whose weights are matrices: dense ones and convolutions of any number of sides."""


def initialize(network: nn.Module) -> None:
    """Normal weights of variance 2 / fan-in.

    torch's default variance is a sixth of that or less, with which the output of a deep network hardly depends on its
    input, and a VAE starts close to a collapse.
    """
    for layer in network.modules():
        if isinstance(layer, _DIRECT):
            fan_in = layer.weight[0].numel()
        elif isinstance(layer, _TRANSPOSED):  # of its kernel, a value meets one entry in as many as the stride
            fan_in = layer.in_channels * math.prod(layer.kernel_size) // math.prod(layer.stride)
        else:
            continue
        nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_in))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
