"""Images, their binarisation, and images with known factors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from vae_zoo.data.base.augmentation import flipped_and_shifted
from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.mapped import Mapped
from vae_zoo.data.base.splits import Split, SplitName
from vae_zoo.distributions import Bernoulli, Family, OptimalNormal
from vae_zoo.system.seeding import mix
from vae_zoo.typing import Shape

Binarization: TypeAlias = Literal["none", "threshold", "static", "dynamic"]

_STATIC_SEEDS: dict[SplitName, int] = {"train": mix(0, 0), "val": mix(0, 1), "test": mix(0, 2)}


class Images(DataModule):
    """uint8 images with optional binarisation.

    Metrics can be compared only under the same binarisation: "dynamic" is that of Burda et al. (2016) in training, with
    validation and test images drawn once, as in Tomczak & Welling (2018); "threshold" is comparable with no paper.

    Args:
        binarization: "none" keeps the grey levels; "threshold" sets pixels above 127; "static" draws each pixel once
            with its grey level as probability, from a fixed seed; "dynamic" draws training images anew in every
            epoch, and validation and test images once, like "static".
        flip: Mirror training images from left to right at random.
        shift: Move training images at random by up to so many pixels in both directions, the border reflected: a random
            crop of the padded image. Both are drawn anew in every epoch, and never for validation, test or prediction.
        kwargs: Arguments of :class:`DataModule`.

    Raises:
        ValueError: If the binarization is unknown or shift is negative; when the data are read, if they do not allow
            the one or the other.
    """

    grey: bool | None = None
    """Whether images have levels between black and white; None if only the data can tell."""

    def __init__(
        self, *, binarization: Binarization = "none", flip: bool = False, shift: int = 0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if binarization not in get_args(Binarization):
            raise ValueError(f"binarization must be one of {', '.join(get_args(Binarization))}, got {binarization!r}.")
        if shift < 0:
            raise ValueError(f"shift must be at least 0 pixels, got {shift}.")
        self.binarization, self.flip, self.shift = binarization, flip, shift

    @property
    def likelihood(self) -> Callable[[Shape], Family]:
        """Likelihood that suits the images; see :attr:`DataModule.likelihood`."""
        if self.binarization == "none" and self.grey is None:
            return super().likelihood
        return OptimalNormal if self.binarization == "none" and self.grey else Bernoulli

    def prepare(self, split: SplitName, loaded: Split) -> Split:
        loaded = super().prepare(split, loaded)
        if self.binarization != "none" and loaded.x.dtype != torch.uint8:
            raise ValueError(f"binarization {self.binarization!r} needs uint8 images, got {loaded.x.dtype}.")
        x = loaded.x
        if self.augments:
            self._check_augmented(tuple(x.shape[1:]))
        if self.binarization == "threshold":
            return loaded._replace(x=x.map(threshold) if isinstance(x, Mapped) else threshold(x))
        if self.binarization == "static" or (self.binarization == "dynamic" and split != "train"):
            if isinstance(x, Mapped):
                raise ValueError(
                    f"binarization {self.binarization!r} draws the {split} split once and keeps it in memory: set "
                    f"in_memory_limit above {x.nbytes / 2**30:.3g} GiB."
                )
            return loaded._replace(x=bernoulli(x, _STATIC_SEEDS[split]))
        return loaded

    def _check_augmented(self, shape: Shape) -> None:
        if len(shape) != 3:
            raise ValueError(f"flip and shift need images (C, H, W), got examples of shape {shape}.")
        if self.shift >= min(shape[1:]):
            raise ValueError(f"shift must be below the height and width of images of shape {shape}, got {self.shift}.")

    @property
    def augments(self) -> bool:
        return self.flip or self.shift > 0

    def augment(self, x: Tensor, key: int) -> Tensor:
        return flipped_and_shifted(x, mix(key, 3), flip=self.flip, shift=self.shift)

    def randomize(self, x: Tensor, key: int) -> Tensor:
        # No need to know the stage: images that are binary already come out as they went in.
        # Mixed once more, because the model seeds its noise with the key: pixels and latents would share a stream.
        return bernoulli(x, mix(key, 1)) if self.binarization == "dynamic" else x


class FactorImages(Images):
    """Images of combinations of known factors, of which the first is the class.

    Args:
        all_factors: Whether labels are all factors instead of the first, as conditions of a
            :class:`~vae_zoo.models.ConditionalVAE`.
        kwargs: Arguments of :class:`Images`.
    """

    classes_of_factors: tuple[int, ...] | None = None
    """Of each factor as a condition: its number of classes, or 1 for a number, which is scaled to [0, 1]; None if all
    are classes."""

    def __init__(self, *, all_factors: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.all_factors = all_factors

    @property
    @abstractmethod
    def factor_sizes(self) -> tuple[int, ...]:
        """Number of values of each factor."""

    @property
    def num_classes(self) -> int | None:
        return None if self.all_factors else self.factor_sizes[0]

    @property
    def condition_sizes(self) -> tuple[int, ...] | None:
        return (self.classes_of_factors or self.factor_sizes) if self.all_factors else None

    def labels(self, factors: Tensor) -> Tensor:
        """Labels of combinations of factors (N, F): (N,), or (N, F) of all factors."""
        if not self.all_factors:
            return factors[:, 0]
        numeric = torch.tensor(self.classes_of_factors or self.factor_sizes) == 1
        return torch.where(numeric, factors / (torch.tensor(self.factor_sizes) - 1), factors.float())

    @abstractmethod
    def draw(self, factors: Tensor) -> Split:
        """Images of any combinations of factors, (N, F), whether or not a split has them."""


def threshold(x: Tensor) -> Tensor:
    """Black and white images: uint8 pixels above 127 become 255, all others 0."""
    return (x > 127).to(torch.uint8) * 255


def bernoulli(x: Tensor, seed: int) -> Tensor:
    """Binary images, 0 or 255, in which each pixel is 255 with probability x / 255.

    Args:
        x: uint8 images of any shape.
        seed: Seed of the draw, on the device of x.

    Returns:
        uint8 images like x, equal to x wherever x is 0 or 255.
    """
    generator = torch.Generator(device=x.device).manual_seed(seed)
    # Of the 255 equally likely levels 0 .. 254, exactly x lie below x: no rounding, and a byte instead of a float.
    level = torch.randint(0, 255, x.shape, dtype=torch.uint8, device=x.device, generator=generator)
    return (level < x).to(torch.uint8) * 255
