"""Splits, and the random division of examples into splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from vae_zoo.data.base.mapped import Mapped

SplitName: TypeAlias = Literal["train", "val", "test"]

SPLITS: tuple[SplitName, ...] = ("train", "val", "test")

PredictSplit: TypeAlias = Literal["all", "train", "val", "test"]
"""What predict may go through."""

STAGES: dict[str | None, tuple[SplitName, ...]] = {
    "fit": ("train", "val"),
    "validate": ("val",),
    "test": ("test",),
}
"""The splits used by each of Lightning's stages but predict, whose split is chosen."""


class Split(NamedTuple):
    """One whole split.

    Args:
        x: uint8 or float32 examples (N, \\*shape), such as images (N, C, H, W) or vectors (N, D), in memory or mapped
            from a file.
        y: Class labels, (N,); several values of each example, (N, A), see :attr:`DataModule.condition_sizes`; or None.
        factors: Indices of the factors that generated each example, (N, F), or None.
        rows: Row of each example in its source, before any shuffling, (N,); None if these are 0 to N - 1.
        ids: Names or numbers by which the owner of the data knows the examples, such as file names: an array of
            strings or integers, (N,), or None.
    """

    x: Tensor | Mapped
    y: Tensor | None = None
    factors: Tensor | None = None
    rows: Tensor | None = None
    ids: np.ndarray | None = None

    def name(self, position: int) -> str:
        """What the owner of the data calls an example: its id, or the row of its source; empty if that is the position.

        Args:
            position: Position in the split.
        """
        if self.ids is not None:
            return f"id {self.ids[position]}"
        return "" if self.rows is None else f"row {int(self.rows[position])}"


def as_float(x: Tensor) -> Tensor:
    """Examples as floats, with uint8 scaled to [0, 1]."""
    return x.float() / 255 if x.dtype == torch.uint8 else x


def split_indices(num: int, *, num_val: int, num_test: int, seed: int) -> dict[SplitName, Tensor]:
    """Disjoint indices of the splits of ``num`` examples, by a seeded shuffle.

    Args:
        num: Number of examples.
        num_val: Size of the validation split.
        num_test: Size of the test split.
        seed: Seed of the shuffle.

    Returns:
        Indices of "train", "val" and "test".

    Raises:
        ValueError: If nothing is left to train on.
    """
    num_train = num - num_val - num_test
    if num_train < 1:
        raise ValueError(f"{num_val} validation and {num_test} test examples leave none of {num} to train on.")
    order = torch.randperm(num, generator=torch.Generator().manual_seed(seed))
    train, val, test = order.split([num_train, num_val, num_test])
    return {"train": train, "val": val, "test": test}


def num_left(num: int, fractions: Mapping[SplitName, float]) -> int:
    """Number of training examples that :func:`random_split` leaves, 0 if there are too few to split."""
    return max(0, num - sum(max(1, round(num * part)) for part in fractions.values()))


def random_split(num: int, fractions: Mapping[SplitName, float], seed: int, where: str) -> dict[SplitName, Tensor]:
    """Take random validation and test splits from ``num`` examples; the rest is the training split.

    Args:
        num: Number of examples.
        fractions: Fraction of the examples, at least one example, for each split other than "train".
        seed: Seed of the shuffle.
        where: Name of the source in errors.

    Returns:
        Disjoint indices of "train" and of each split in ``fractions``.

    Raises:
        ValueError: If nothing is left to train on.
    """
    sizes = {split: max(1, round(num * part)) for split, part in fractions.items()}
    if num <= sum(sizes.values()):
        raise ValueError(f"{where} has {num} examples, too few for {', '.join(('train', *sizes))} splits.")
    indices = split_indices(num, num_val=sizes.get("val", 0), num_test=sizes.get("test", 0), seed=seed)
    return {split: index for split, index in indices.items() if split == "train" or split in sizes}


def hide_labels(y: Tensor | None, num: int, seed: int, where: str) -> Tensor:
    """Keep the labels of ``num`` random examples, as evenly over the classes as they allow, and set the others to −1.

    Args:
        y: Labels, (N,), of which some may be unknown and −1 already, or None.
        num: Number of labels to keep.
        seed: Seed of the choice.
        where: Name of the data in errors.

    Raises:
        ValueError: If there are no labels, fewer than num, or more classes than num.
    """
    if y is None:
        raise ValueError(f"num_labels: {where} has no labels to keep, got {num}.")
    if y.ndim != 1:
        raise ValueError(f"num_labels: {where} has several values of each example instead of a class.")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(y), generator=generator)
    order = order[y.cpu()[order] >= 0]
    shuffled = y.cpu()[order]
    counts = torch.bincount(shuffled)
    num_classes = int((counts > 0).sum())
    if not num_classes <= num <= len(order):
        raise ValueError(f"num_labels must lie in {num_classes} .. {len(order)} for {where}, got {num}.")
    by_class = shuffled.argsort(stable=True)
    turn = torch.empty_like(by_class)  # position of an example within its class
    turn[by_class] = torch.arange(len(order)) - (counts.cumsum(0) - counts)[shuffled[by_class]]
    kept = order[turn.argsort(stable=True)[:num]]
    hidden = torch.full_like(y, -1)
    hidden[kept] = y[kept]
    return hidden
