"""The examples of pictures: those of a batch, and pairs that users choose by id or index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vae_zoo.callbacks.predicting.identity import Identity, predicted, size_of

Pair: TypeAlias = tuple[int | str, int | str]
"""Ids or index numbers of two examples."""


class Examples(NamedTuple):
    """Examples as the model takes them.

    Args:
        x: Examples, (B, \\*shape).
        c: Their labels or conditions, or None.
        positions: Their positions in the loader, (B,).
        identity: Rows and ids of all examples of the loader.
    """

    x: Tensor
    c: Tensor | None
    positions: np.ndarray
    identity: Identity

    def first(self, num: int) -> Examples:
        """At most the first of them."""
        return self._replace(x=self.x[:num], c=None if self.c is None else self.c[:num], positions=self.positions[:num])


def checked_pairs(pairs: Any) -> list[Pair] | None:
    """Pairs of names of examples.

    Raises:
        ValueError: If they are something else.
    """
    if pairs is None:
        return None
    fine = isinstance(pairs, (list, tuple)) and all(
        isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs
    )
    if not fine or not all(isinstance(end, (int, str)) and not isinstance(end, bool) for pair in pairs for end in pair):
        raise ValueError(f"pairs must be pairs of ids or index numbers, such as [[3, 17]], got {pairs}.")
    return [(first, second) for first, second in pairs]


def positions_of(pairs: Sequence[Pair], loader: Any) -> list[int]:
    """Positions of the first ends of all pairs, and then of the second ends.

    Raises:
        ValueError: If the loader is foreign, or an example is not in it or not alone.
    """
    size = size_of(loader)
    if size is None or not hasattr(loader, "take"):
        raise ValueError(f"pairs needs a data module or a loader of vae_zoo, got a {type(loader).__name__}.")
    known = Identity.of(loader)
    return [known.find(pair[end], size) for end in (0, 1) for pair in pairs]


def chosen(pairs: Sequence[Pair], trainer: Trainer, model: Any, number: int) -> Examples:
    """The first ends of all pairs, and then the second ends, prepared for the model.

    Args:
        pairs: Names of the examples.
        trainer: The trainer, which has the data.
        model: The model.
        number: Number of the loader.
    """
    loader, data = predicted(trainer, number), getattr(trainer, "datamodule", None)
    places, found = positions_of(pairs, loader), []
    for place in places:
        batch = loader.take(torch.tensor([place]))
        batch = batch._replace(x=batch.x.to(model.device), y=None if batch.y is None else batch.y.to(model.device))
        found.append(model.unpack(batch if data is None else data.on_after_batch_transfer(batch, number)))
    x, c = zip(*found, strict=True)
    return Examples(torch.cat(x), None if c[0] is None else torch.cat(c), np.array(places), Identity.of(loader))
