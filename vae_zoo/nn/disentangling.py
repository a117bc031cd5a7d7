"""Networks of papers on disentanglement: those of Burgess et al., and the spatial broadcast decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from vae_zoo.nn.conv import CONVOLUTIONS, check_image, check_widths, initialize, sizes_of
from vae_zoo.nn.halving import geometry
from vae_zoo.typing import Shape

_CHANNELS = (32, 32, 32, 32)
_convolution, _transposed = CONVOLUTIONS[2]
_HIDDEN = 256


class BurgessEncoder(nn.Module):
    """Four convolutions of 32 channels that each halve the image, and two dense layers of 256.

    Most published results on dSprites have these networks, for images of 64x64 pixels. Smaller images keep their size
    where nothing is left to halve. Initial weights are normal, of variance 2 / fan-in.

    References:
        | Understanding Disentangling in β-VAE (Burgess et al., 2018)
        | https://arxiv.org/abs/1804.03599

    Args:
        in_shape: Shape of one image, (C, H, W).
        out_shape: Shape of one output.

    Raises:
        ValueError: If in_shape is not that of an image.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        check_image(in_shape)
        sizes = sizes_of(in_shape, _CHANNELS, _HIDDEN)
        self.out_shape = tuple(out_shape)
        layers: list[nn.Module] = []
        for (c_in, size_in), (c_out, size_out) in pairwise(zip((in_shape[0], *_CHANNELS), sizes, strict=True)):
            kernel, stride, _ = geometry(size_in, size_out)
            layers += [_convolution(c_in, c_out, kernel, stride, padding=1), nn.ReLU()]
        widths = (_CHANNELS[-1] * math.prod(sizes[-1]), _HIDDEN, _HIDDEN)
        dense = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
        self.layers = nn.Sequential(*layers, nn.Flatten(), *dense, nn.Linear(_HIDDEN, math.prod(out_shape)))
        initialize(self)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, *out_shape)."""
        return self.layers(x).unflatten(-1, self.out_shape)


class BurgessDecoder(nn.Module):
    """The mirror of :class:`BurgessEncoder`.

    Args:
        in_shape: Shape of one latent.
        out_shape: Shape of the parameters of one image, (\\*params, C, H, W).

    Raises:
        ValueError: If out_shape is not that of an image.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        check_image(out_shape[-3:])
        sizes = sizes_of(out_shape[-3:], _CHANNELS, _HIDDEN)[::-1]
        self.out_shape = tuple(out_shape)
        widths = (math.prod(in_shape), _HIDDEN, _HIDDEN, _CHANNELS[-1] * math.prod(sizes[0]))
        layers: list[nn.Module] = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
        layers.append(nn.Unflatten(-1, (_CHANNELS[-1], *sizes[0])))
        channels = (*_CHANNELS[::-1], math.prod(out_shape[:-2]))
        for (c_in, size_in), (c_out, size_out) in pairwise(zip(channels, sizes, strict=True)):
            kernel, stride, extra = geometry(size_out, size_in)
            layers += [_transposed(c_in, c_out, kernel, stride, padding=1, output_padding=extra), nn.ReLU()]
        self.layers = nn.Sequential(nn.Flatten(), *layers[:-1])
        initialize(self)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(z).unflatten(1, self.out_shape[:-2])


class SpatialBroadcastDecoder(nn.Module):
    """The latent at every pixel beside the coordinates of the pixel, then convolutions that keep the size.

    Positions are given instead of being built up by upsampling, which makes them easier to disentangle. Coordinates run
    from −1 to 1, x along the width and y along the height. All layers have the full size, so it is slower than decoders
    that double the image.

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
        check_image(out_shape[-3:])
        check_widths(channels)
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
