"""Pairs of examples that share most of their generating factors."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from vae_zoo.data.base import transfer
from vae_zoo.data.base.datamodule import DataModule
from vae_zoo.data.base.loader import TensorLoader
from vae_zoo.data.base.mapped import Mapped
from vae_zoo.data.base.splits import Split, SplitName
from vae_zoo.data.datasets.images import FactorImages
from vae_zoo.distributions import Family
from vae_zoo.system.seeding import mix
from vae_zoo.typing import Batch, Shape


class Pairs(DataModule):
    """Pairs of training examples that share all but a few factors, for weakly supervised models.

    A training batch has ``2 · batch_size`` rows: row 2i is an example of the training split, row 2i + 1 its partner,
    of which some factors, chosen at random, have another value. The partner is drawn anew in every epoch, from all
    combinations that are not held out for validation or testing. Validation and test have single examples.

    References:
        | Weakly-Supervised Disentanglement Without Compromises (Locatello et al., 2020)
        | https://arxiv.org/abs/2002.02886

    Args:
        data: Data with known factors that can draw any combination of them: Sprites, DSprites or EmojiPeople. Its own
            sizes of batches are not used.
        factors: Number of factors that differ within a pair; None to draw it for every pair.
        batch_size: Pairs in a training batch, on each device.
        kwargs: Arguments of :class:`DataModule` except ``num_labels``, which is one of ``data``.

    Raises:
        TypeError: If data cannot draw a combination of factors.
        ValueError: If factors is less than 1, or not below the number of factors.
    """

    def __init__(self, *, data: DataModule, factors: int | None = 1, batch_size: int = 64, **kwargs: Any) -> None:
        super().__init__(batch_size=batch_size, **kwargs)
        if not isinstance(data, FactorImages):
            raise TypeError(
                f"Pairs needs data with known factors, such as Sprites or DSprites, got {type(data).__name__}."
            )
        num = len(data.factor_sizes)
        if factors is not None and not 1 <= factors < num:
            raise ValueError(
                f"factors must lie in 1 .. {num - 1}, of the {num} of {type(data).__name__}, got {factors}."
            )
        if self.num_labels is not None:
            raise ValueError(f"num_labels is an option of the data within Pairs: give it to {type(data).__name__}.")
        if data.flip or data.shift:
            raise ValueError("flip and shift would change the factors of Pairs: leave them out.")
        self.data, self.factors = data, factors

    @property
    def shape(self) -> Shape:
        return self.data.shape

    @property
    def num_train(self) -> int:
        return self.data.num_train

    @property
    def num_classes(self) -> int | None:
        return self.data.num_classes

    @property
    def condition_sizes(self) -> tuple[int, ...] | None:
        return self.data.condition_sizes

    @property
    def num_labelled(self) -> int | None:
        return self.data.num_labelled

    @property
    def likelihood(self) -> Callable[[Shape], Family]:
        return self.data.likelihood

    @property
    def missing(self) -> bool:  # type: ignore[override]
        return self.data.missing

    @property
    def scaling(self) -> dict[str, list[float]] | None:
        return self.data.scaling

    def prepare_data(self) -> None:
        self.data.prepare_data()

    def dataset(self, split: SplitName) -> Split:
        return self.data.dataset(split)

    def load(self, split: SplitName) -> Split:
        return self.data.load(split)

    def randomize(self, x: Tensor, key: int) -> Tensor:
        return self.data.randomize(x, key)

    def _loader(self, split: SplitName, *, training: bool | None = None) -> TensorLoader:
        if split != "train" or training is False:
            return super()._loader(split, training=training)
        loaded, device = self.load(split), self._device()
        ahead = partial(transfer.prefetch, device=device) if transfer.overlaps(device) else None
        pairing = Pairing(self.data, self.factors)
        return PairLoader(loaded.x, loaded.y, pairing=pairing, **self._loading(split), ahead=ahead)


class Pairing:
    """Draws partners of training examples.

    Args:
        data: Data that can draw any combination of its factors.
        factors: Number of factors that differ; None to draw it for every pair.
    """

    def __init__(self, data: FactorImages, factors: int | None) -> None:
        self.data, self.factors = data, factors
        self.own = _factors(data, "train")
        self.sizes = torch.tensor(data.factor_sizes)
        held_out = [_number(_factors(data, split), self.sizes) for split in ("val", "test")]
        self.held_out = torch.cat(held_out)

    def partners(self, index: Tensor, key: int) -> Split:
        """A partner of each training example.

        Args:
            index: Positions of the examples, (B,).
            key: Seed of the draw.
        """
        generator = torch.Generator().manual_seed(mix(key, 2))
        own = self.own[index.cpu()]
        factors = self._changed(own, generator)
        while bool((taken := torch.isin(_number(factors, self.sizes), self.held_out)).any()):
            factors[taken] = self._changed(own[taken], generator)
        drawn = self.data.draw(factors)
        hidden = self.data.num_labels is not None  # a partner must not reveal the hidden label of its example
        return drawn._replace(y=torch.full_like(factors[:, 0], -1)) if hidden else drawn

    def _changed(self, factors: Tensor, generator: torch.Generator) -> Tensor:
        """The same factors, some of them with other values."""
        num, width = factors.shape
        counts = torch.randint(1, width, (num,), generator=generator)
        counts = counts if self.factors is None else torch.full_like(counts, self.factors)
        rank = torch.rand(num, width, generator=generator).argsort(1).argsort(1)
        steps = 1 + (torch.rand(num, width, generator=generator) * (self.sizes - 1)).long()  # never a whole turn
        return torch.where(rank < counts[:, None], (factors + steps) % self.sizes, factors)


class PairLoader(TensorLoader):
    """Loader of pairs: each example of a batch is followed by its partner.

    Args:
        x: Examples, (N, \\*shape).
        y: Labels, (N,), or None.
        pairing: What draws the partners.
        kwargs: Further arguments of :class:`TensorLoader`.
    """

    def __init__(self, x: Tensor | Mapped, y: Tensor | None, *, pairing: Pairing, **kwargs: Any) -> None:
        super().__init__(x, y, **kwargs)
        self.pairing = pairing

    def _batch(self, order: Tensor, position: int) -> Batch:
        first = super()._batch(order, position)
        second = self.pairing.partners(first.index, first.key)
        y = None if first.y is None or second.y is None else _in_turn(first.y, second.y)
        return first._replace(x=_in_turn(first.x, second.x), y=y, index=first.index.repeat_interleave(2))


def _in_turn(first: Tensor, second: Any) -> Tensor:
    return torch.stack([first, second.to(first.device, first.dtype)], 1).flatten(0, 1)


def _factors(data: DataModule, split: SplitName) -> Tensor:
    found = data.load(split).factors
    assert found is not None
    return found


def _number(factors: Tensor, sizes: Tensor) -> Tensor:
    """One number for each combination of factors, (N,)."""
    strides = sizes.flip(0).cumprod(0).flip(0).roll(-1)
    strides[-1] = 1
    return (factors * strides).sum(1)
