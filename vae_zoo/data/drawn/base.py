"""The base of drawn data sets."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any

from torch import Tensor

from vae_zoo.data.base.checks import check_fractions, check_positive
from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.splits import Split, SplitName, num_left, random_split


class Drawn(DataModule):
    """A number of examples, drawn once, of which random ones are held out.

    Args:
        num_examples: Number of examples of all splits.
        val_fraction: Fraction of examples for validation.
        test_fraction: Fraction of examples for testing.
        split_seed: Seed of the examples and of the splits.
        kwargs: Arguments of :class:`DataModule`.

    Raises:
        ValueError: If num_examples is less than 1, or a fraction invalid.
    """

    def __init__(
        self,
        *,
        num_examples: int = 2000,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
        split_seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_fractions(val_fraction, test_fraction)
        self.num_examples, self.split_seed = check_positive("num_examples", num_examples), split_seed
        self.fractions: dict[SplitName, float] = {"val": val_fraction, "test": test_fraction}

    @abstractmethod
    def draw(self) -> tuple[Tensor, Tensor]:
        """All examples, (N, \\*shape), and their labels, (N,), the same for the same arguments."""

    @property
    def num_train(self) -> int:
        return num_left(self.num_examples, self.fractions)

    @property
    def num_rows(self) -> int:
        return self.num_examples

    def dataset(self, split: SplitName) -> Split:
        rows = random_split(self.num_examples, self.fractions, self.split_seed, type(self).__name__)[split]
        x, y = self._drawn
        return Split(x[rows], y[rows], rows=rows)

    def whole(self) -> Split:
        return Split(*self._drawn)

    @cached_property
    def _drawn(self) -> tuple[Tensor, Tensor]:
        return self.draw()
