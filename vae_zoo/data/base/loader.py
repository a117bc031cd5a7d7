"""A loader that indexes whole batches of tensors in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from vae_zoo.data.base.checks import check_drop_last
from vae_zoo.data.base.mapped import Mapped
from vae_zoo.system.seeding import mix
from vae_zoo.typing import Batch


class TensorLoader:
    """Loader of one split whose order is a function of (seed, epoch) and which can resume within an epoch.

    In training every rank takes the same number of steps: the order is padded by wrapping around, or cut with
    ``drop_last``. In evaluation the shards are disjoint and unpadded, so that every example is used exactly once over
    all ranks; the ranks' numbers of steps may then differ by one. In evaluation, keys do not depend on the epoch.
    ``Batch.index`` is the position in x; ``rows`` and ``ids``, if set, are those of :class:`Split`.

    Args:
        x: Examples, (N, \\*shape), on the device of the batches.
        y: Labels, (N,), or None, on the same device.
        batch_size: Examples in a batch, on each rank.
        seed: Seed of the order and of the keys.
        training: Pad, count epochs and resume; otherwise an evaluation shard.
        shuffle: Draw a new order at each epoch of training.
        drop_last: Leave out the last, smaller batch of training.
        rank: Number of this process.
        world_size: Number of processes.
        ahead: Applied to the iterator of batches; may prepare the next batch in the meantime.

    Raises:
        ValueError: If ``drop_last`` leaves no batch at all.
    """

    def __init__(
        self,
        x: Tensor | Mapped,
        y: Tensor | None = None,
        *,
        batch_size: int,
        seed: int = 0,
        training: bool = False,
        shuffle: bool = True,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
        ahead: Callable[[Iterator[Batch]], Iterator[Batch]] | None = None,
    ) -> None:
        self.x, self.y, self.batch_size, self.seed = x, y, batch_size, seed
        self.training, self.shuffle, self.drop_last = training, shuffle, drop_last
        self.rank, self.world_size, self.ahead = rank, world_size, ahead
        self.rows: Tensor | None = None
        self.ids: np.ndarray | None = None
        self.epoch = 0 if training else -1
        self._position = 0  # batches already given in this epoch
        self._start = 0  # where the next iteration begins: not 0 only after load_state_dict
        self._resumed = False  # no batch given yet since load_state_dict
        self._num_empty = 0  # epochs without any batch that Lightning has counted
        if training and drop_last:
            check_drop_last(len(x), batch_size, world_size)

    def __len__(self) -> int:
        if self.training and self.drop_last:
            return self._num_local // self.batch_size
        return -(-self._num_local // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        # Lightning makes the iterator first and sets the epoch afterwards: all is read at the first batch.
        start, self._start, self._resumed = self._start, 0, False
        batches = self._batches(start)
        if self.ahead is not None:
            batches = self.ahead(batches)
        for position, batch in enumerate(batches, start):
            self._position = position + 1
            yield batch

    def _batches(self, start: int) -> Iterator[Batch]:
        order = self._order().to(self.x.device)
        return (self._batch(order, position) for position in range(start, len(self)))

    def _batch(self, order: Tensor, position: int) -> Batch:
        index = order[position * self.batch_size : (position + 1) * self.batch_size]
        return Batch(self.x[index], None if self.y is None else self.y[index], index, self._key(position))

    def take(self, positions: Tensor) -> Batch:
        """The examples at some positions in x, whatever the order of the loader.

        Args:
            positions: Positions, (B,).
        """
        index = positions.to(self.x.device)
        return Batch(self.x[index], None if self.y is None else self.y[index], index, mix(self.seed, -2))

    def _key(self, position: int) -> int:
        return mix(self.seed, self.epoch, self.rank, position)

    @property
    def batch_sampler(self) -> SimpleNamespace:
        """The object whose ``set_epoch`` Lightning calls.

        Not ``sampler``, which Lightning would replace as a shuffling sampler when overfitting batches.
        """
        return SimpleNamespace(sampler=self)

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of another epoch; does nothing for the current epoch, or in evaluation."""
        if not self.training or epoch == self.epoch + self._num_empty:
            return
        if self._resumed and self._start == 0:
            # Resumed with max_steps at the end of an epoch, Lightning counts an empty epoch before it goes on.
            self._num_empty += 1
            return
        self.epoch, self._position, self._start = epoch - self._num_empty, 0, 0

    def state_dict(self) -> dict[str, int]:
        """The position in training: plain integers, the same on every rank."""
        place = {"epoch": self.epoch, "position": self._position}
        return {**place, "num_batches": len(self), "num_empty": self._num_empty}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue after the last batch that was given before ``state_dict``.

        Raises:
            ValueError: If the position is within an epoch with another number of batches.
        """
        self.epoch, self._position, self._num_empty = state["epoch"], state["position"], state["num_empty"]
        self._start, self._resumed = self._position, True
        if 0 < self._position < state["num_batches"] != len(self):
            raise ValueError(
                f"Cannot resume after batch {self._position} of {state['num_batches']}: the epoch now has {len(self)} "
                "batches. Resume with the same data, batch_size and number of devices, or from the end of an epoch."
            )

    @property
    def _num_local(self) -> int:
        if not self.training:
            return len(range(self.rank, len(self.x), self.world_size))
        return len(self.x) // self.world_size if self.drop_last else -(-len(self.x) // self.world_size)

    def _order(self) -> Tensor:
        num = len(self.x)
        local = torch.arange(self.rank, self.rank + self._num_local * self.world_size, self.world_size)
        if not self.training:
            return local
        local = local % num
        if not self.shuffle:
            return local
        generator = torch.Generator().manual_seed(mix(self.seed, self.epoch))
        return torch.randperm(num, generator=generator)[local]


class ChainedLoader:
    """Evaluation loaders one after another, as one loader of all their examples.

    If no row is in two of them, positions are the order of the rows of the source; otherwise, as with one file for each
    split, they follow the loaders. Batches are those of the loaders, with the same keys.

    Args:
        loaders: The loaders.
        names: What each of them is called.
    """

    def __init__(self, loaders: Sequence[TensorLoader], names: Sequence[str]) -> None:
        self.loaders = loaders
        sizes = [len(loader.x) for loader in loaders]
        self._starts = [sum(sizes[:n]) for n in range(len(sizes))]
        rows = torch.cat([torch.arange(len(x.x)) if x.rows is None else x.rows.cpu() for x in loaders])
        order = rows.argsort(stable=True)
        distinct = bool((rows[order][1:] > rows[order][:-1]).all())
        if not distinct:
            order = torch.arange(len(rows))
        self._order, self._place = order, order.argsort()
        self.rows = rows[order]
        ids = [loader.ids for loader in loaders if loader.ids is not None]
        self.ids = np.concatenate(ids)[order.numpy()] if len(ids) == len(loaders) else None
        self.parts = None if distinct else np.repeat(list(names), sizes)

    def __len__(self) -> int:
        return sum(map(len, self.loaders))

    def __iter__(self) -> Iterator[Batch]:
        for loader, start in zip(self.loaders, self._starts, strict=True):
            for batch in loader:
                yield batch._replace(index=self._place[batch.index.cpu() + start])

    def take(self, positions: Tensor) -> Batch:
        """See :meth:`TensorLoader.take`; for one position, since the loaders may be on different devices."""
        at = int(self._order[int(positions)])
        number = max(n for n, start in enumerate(self._starts) if start <= at)
        return self.loaders[number].take(torch.tensor([at - self._starts[number]]))._replace(index=positions)
