"""The factors of dSprites, whether its images are read or drawn."""

from __future__ import annotations

from vae_zoo.data.datasets.images import Images

FACTOR_SIZES = (3, 6, 40, 32, 32)


class SpriteImages(Images):
    """Images of sprites, whose class is their shape."""

    grey = False

    factor_sizes: tuple[int, ...] = FACTOR_SIZES
    """Number of values of each factor: shape (square, ellipse, heart), scale, rotation, x and y."""

    @property
    def num_classes(self) -> int:
        return self.factor_sizes[0]
