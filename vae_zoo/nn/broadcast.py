"""The spatial broadcast decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vae_zoo.nn.conv import check_widths, initialize
from vae_zoo.typing import Shape


class SpatialBroadcastDecoder(nn.Module):
    """The latent at every pixel beside the coordinates of the pixel, then convolutions that keep the size.

    Positions are given rather than to be built up by upsampling, which makes them easier to disentangle. Coordinates
    run from −1 to 1, x along the width and y along the height. It costs as many multiplications at every pixel as other
    decoders at the few of their first layers.

    References:
        | Spatial Broadcast Decoder: A Simple Architecture for Learning Disentangled Representations in VAEs
          (Watters et al., 2019)
        | https://arxiv.org/abs/1901.07017

    Args:
        in_shape: Shape of one latent.
        out_shape: Shape of the parameters of one image, (\\*params, C, H, W).
        channels: Channels after each convolution but the last.
        kernel: Side of each convolution, an odd number.
        activation: Class of the activation after each layer.

    Raises:
        ValueError: If out_shape is not that of an image, a width is less than 1, or kernel is even.
    """

    coordinates: Tensor

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        *,
        channels: Sequence[int] = (64, 64, 64, 64),
        kernel: int = 3,
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        check_widths(out_shape[-3:], channels)
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, for images to keep their size, got {kernel}.")
        self.out_shape = tuple(out_shape)
        y, x = (torch.linspace(-1, 1, size) if size > 1 else torch.zeros(1) for size in out_shape[-2:])
        self.register_buffer("coordinates", torch.stack(torch.meshgrid(x, y, indexing="xy")), persistent=False)
        layers: list[nn.Module] = []
        for c_in, c_out in pairwise((math.prod(in_shape) + 2, *channels)):
            layers += [nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2), activation()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(channels[-1], math.prod(out_shape[:-2]), 1))
        initialize(self)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        tiled = z.flatten(1)[:, :, None, None].expand(-1, -1, *self.out_shape[-2:])
        placed = self.coordinates.to(z.dtype).expand(len(z), -1, -1, -1)
        return self.layers(torch.cat([tiled, placed], 1)).unflatten(1, self.out_shape[:-2])
