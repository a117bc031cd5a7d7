"""Sprites drawn on the fly, with known generating factors."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vae_zoo.data.base.checks import check_positive
from vae_zoo.data.base.splits import Split, SplitName, split_indices
from vae_zoo.data.datasets.images import FactorImages
from vae_zoo.typing import Shape

_CHUNK = 1024
_RADIUS = 0.17  # of the largest sprite, as a fraction of the image: it stays inside at every place and rotation

FACTOR_SIZES = (3, 6, 40, 32, 32)


class SpriteImages(FactorImages):
    """Images of sprites, with their shape as class.

    Args:
        kwargs: Arguments of :class:`FactorImages`, of which ``all_factors`` gives the number of the shape, and the
            other factors scaled to [0, 1].
    """

    grey = False

    factor_sizes: tuple[int, ...] = FACTOR_SIZES
    """Number of values of each factor: shape (square, ellipse, heart), scale, rotation, x and y."""

    classes_of_factors = (3, 1, 1, 1, 1)


class Sprites(SpriteImages):
    """White sprites on black, with the factors of dSprites: shape, scale, rotation, and position in x and in y.

    A random subset of the 737,280 combinations is drawn, with an eighth for validation and an eighth for testing. The
    images differ from those of dSprites in some pixels; unlike there, the 40 rotations are all different (0 and 360
    degrees are not both among them).

    References:
        | dSprites: Disentanglement testing Sprites dataset (Matthey et al., 2017)
        | https://github.com/google-deepmind/dsprites-dataset

    Args:
        num_examples: Number of images in all three splits together.
        image_size: Height and width.
        seed: Seed of the drawn combinations and of their splits.
        kwargs: Arguments of :class:`SpriteImages`.
    """

    def __init__(self, *, num_examples: int = 20_000, image_size: int = 64, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_positive("image_size", image_size)
        if not 3 <= num_examples <= math.prod(FACTOR_SIZES):
            raise ValueError(f"num_examples must lie in 3 .. {math.prod(FACTOR_SIZES)}, got {num_examples}.")
        self.num_examples, self.image_size, self.seed = num_examples, image_size, seed

    @property
    def shape(self) -> Shape:
        return (1, self.image_size, self.image_size)

    @property
    def num_train(self) -> int:
        return self.num_examples - 2 * self._num_held_out

    def dataset(self, split: SplitName) -> Split:
        index = _divided(self._num_held_out, self.seed)[split][: self.num_train]
        factors = torch.stack(torch.unravel_index(index, FACTOR_SIZES), dim=1)
        return self.draw(factors)._replace(rows=index)

    def draw(self, factors: Tensor) -> Split:
        return Split(draw_sprites(factors, self.image_size), self.labels(factors), factors)

    @property
    def _num_held_out(self) -> int:
        return max(1, self.num_examples // 8)


@lru_cache(maxsize=1)
def _divided(held_out: int, seed: int) -> dict[SplitName, Tensor]:
    """All combinations, in splits; kept, since each split of a data set is asked for by itself."""
    return split_indices(math.prod(FACTOR_SIZES), num_val=held_out, num_test=held_out, seed=seed)


def draw_sprites(factors: Tensor, image_size: int = 64) -> Tensor:
    """Draw sprites; a pixel is white if its centre lies inside.

    Args:
        factors: Indices of shape, scale, rotation, x and y, (N, 5).
        image_size: Height and width.

    Returns:
        uint8 images, (N, 1, image_size, image_size).
    """
    images = torch.zeros(len(factors), image_size, image_size, dtype=torch.uint8)
    for shape, inside in enumerate((_square, _ellipse, _heart)):
        for rows in (factors[:, 0] == shape).nonzero().squeeze(1).split(_CHUNK):
            images[rows] = inside(*_coordinates(factors[rows], image_size)).to(torch.uint8) * 255
    return images.unsqueeze(1)


def _coordinates(factors: Tensor, image_size: int) -> tuple[Tensor, Tensor]:
    """Coordinates u (to the right) and v (up) of each pixel in the unit frame of its sprite, (N, H, W)."""
    _, scale, rotation, x, y = factors.float().unbind(1)
    pixel = (torch.arange(image_size) + 0.5) / image_size
    dx = pixel - (0.25 + 0.5 * x / (FACTOR_SIZES[3] - 1))[:, None]
    dy = (0.25 + 0.5 * y / (FACTOR_SIZES[4] - 1))[:, None] - pixel
    size = _RADIUS * (0.5 + 0.5 * scale / (FACTOR_SIZES[1] - 1))
    angle = 2 * math.pi * rotation / FACTOR_SIZES[2]
    cos, sin = (angle.cos() / size)[:, None], (angle.sin() / size)[:, None]
    u = (cos * dx)[:, None, :] + (sin * dy)[:, :, None]
    v = (cos * dy)[:, :, None] - (sin * dx)[:, None, :]
    return u, v


def _square(u: Tensor, v: Tensor) -> Tensor:
    return torch.maximum(u.abs(), v.abs()) <= 1


def _ellipse(u: Tensor, v: Tensor) -> Tensor:
    return (u / 1.4).square() + (v / 0.7).square() <= 1


def _heart(u: Tensor, v: Tensor) -> Tensor:
    u, v = u.square(), v + 0.1
    return (u + v.square() - 1).pow(3) <= u * v.pow(3)
