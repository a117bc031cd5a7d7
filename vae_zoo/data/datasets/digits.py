"""The 8x8 digits that come with scikit-learn, without a download."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from vae_zoo.data.base.splits import Split, SplitName, split_indices
from vae_zoo.data.datasets.images import Images
from vae_zoo.typing import Shape

_NUM_VAL = _NUM_TEST = 200
_NUM_TRAIN = 1797 - _NUM_VAL - _NUM_TEST


class Digits(Images):
    """Handwritten digits of 8x8 pixels: 1397 for training, 200 for validation and 200 for testing.

    References:
        | Optical Recognition of Handwritten Digits (Alpaydin & Kaynak, 1998)
        | https://doi.org/10.24432/C50P49

    Args:
        batch_size: Training examples in a batch, half of the usual default: an epoch has 22 steps.
        kwargs: Arguments of :class:`Images`.
    """

    def __init__(self, *, batch_size: int = 64, **kwargs: Any) -> None:
        super().__init__(batch_size=batch_size, **kwargs)

    @property
    def shape(self) -> Shape:
        return (1, 8, 8)

    @property
    def num_train(self) -> int:
        return _NUM_TRAIN

    @property
    def num_classes(self) -> int:
        return 10

    def dataset(self, split: SplitName) -> Split:
        images, y = _read()
        index = split_indices(len(images), num_val=_NUM_VAL, num_test=_NUM_TEST, seed=0)[split]
        return Split(images[index], y[index], rows=index)


@lru_cache(maxsize=1)
def _read() -> tuple[Tensor, Tensor]:
    """All images, uint8 (N, 1, 8, 8), and their classes; scikit-learn has them as text, which takes longer to read than
    an epoch of training."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.from_numpy(digits.images).mul(255 / 16).round().to(torch.uint8)
    return images.unsqueeze(1), torch.from_numpy(digits.target).long()
