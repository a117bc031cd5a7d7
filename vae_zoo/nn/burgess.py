"""The convolutional networks of many papers on disentanglement."""

from __future__ import annotations

import math
from itertools import pairwise

from torch import Tensor, nn

from vae_zoo.nn.conv import initialize, sizes_of
from vae_zoo.nn.halving import geometry
from vae_zoo.typing import Shape

_CHANNELS = (32, 32, 32, 32)
_HIDDEN = 256


class BurgessEncoder(nn.Module):
    """Four convolutions of 32 channels that each halve the image, and two dense layers of 256.

    The networks that most results on dSprites are of, for images of 64x64 pixels; others keep their size in layers that
    have nothing left to halve. Initial weights are normal, of variance 2 / fan-in.

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
        sizes = sizes_of(in_shape, _CHANNELS, _HIDDEN)
        self.out_shape = tuple(out_shape)
        layers: list[nn.Module] = []
        for (c_in, size_in), (c_out, size_out) in pairwise(zip((in_shape[0], *_CHANNELS), sizes, strict=True)):
            kernel, stride, _ = geometry(size_in, size_out)
            layers += [nn.Conv2d(c_in, c_out, kernel, stride, padding=1), nn.ReLU()]
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
        sizes = sizes_of(out_shape[-3:], _CHANNELS, _HIDDEN)[::-1]
        self.out_shape = tuple(out_shape)
        widths = (math.prod(in_shape), _HIDDEN, _HIDDEN, _CHANNELS[-1] * math.prod(sizes[0]))
        layers: list[nn.Module] = [part for pair in pairwise(widths) for part in (nn.Linear(*pair), nn.ReLU())]
        layers.append(nn.Unflatten(-1, (_CHANNELS[-1], *sizes[0])))
        channels = (*_CHANNELS[::-1], math.prod(out_shape[:-2]))
        for (c_in, size_in), (c_out, size_out) in pairwise(zip(channels, sizes, strict=True)):
            kernel, stride, extra = geometry(size_out, size_in)
            layers += [nn.ConvTranspose2d(c_in, c_out, kernel, stride, padding=1, output_padding=extra), nn.ReLU()]
        self.layers = nn.Sequential(nn.Flatten(), *layers[:-1])
        initialize(self)

    def forward(self, z: Tensor) -> Tensor:
        """Map (B, *in_shape) to (B, *out_shape)."""
        return self.layers(z).unflatten(1, self.out_shape[:-2])
