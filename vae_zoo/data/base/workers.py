"""A resumable loader that fetches examples in worker processes."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from vae_zoo.data.base.checks import check_positive
from vae_zoo.data.base.loader import TensorLoader
from vae_zoo.system.seeding import mix
from vae_zoo.typing import Batch


class WorkerLoader(TensorLoader):
    """Loader of a map-style data set of torch, with the epochs, keys and state of :class:`TensorLoader`.

    A run can resume at any step exactly. With torch's own loader it starts its epoch again, in another order. Random
    numbers that an example draws from ``torch``, ``numpy`` or ``random`` are a function of (seed, epoch, index),
    whichever worker fetches it.

    Args:
        dataset: Returns an example, or a pair of an example and its label, by index.
        num_workers: Number of processes.
        collate: Makes a batch from a list of them; torch's by default.
        kwargs: Arguments of :class:`TensorLoader` other than the tensors.

    Raises:
        ValueError: If num_workers is less than 1.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        *,
        num_workers: int = 2,
        collate: Callable[[list[Any]], Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(x=dataset, **kwargs)  # type: ignore[arg-type]  # of which it takes the length
        self.num_workers = check_positive("num_workers", num_workers)
        self.collate = collate or default_collate

    def _batches(self, start: int) -> Iterator[Batch]:
        rows = self._order().split(self.batch_size)[start : len(self)]
        loader = DataLoader(
            _Keyed(self.x, mix(self.seed, self.epoch)),
            batch_sampler=[row.tolist() for row in rows],
            num_workers=self.num_workers,
            collate_fn=self.collate,
            generator=torch.Generator(),  # else it would draw from the one that the noise is drawn from
        )
        for position, (row, batch) in enumerate(zip(rows, loader, strict=True), start):
            x, y = batch if isinstance(batch, Sequence) else (batch, None)
            yield Batch(x, y, row, self._key(position))


class _Keyed(Dataset[Any]):
    """A data set that seeds the generators for each example, in a worker process used for nothing else."""

    def __init__(self, dataset: Any, seed: int) -> None:
        self.dataset, self.seed = dataset, seed

    def __getitem__(self, index: int) -> Any:
        seed = mix(self.seed, index)
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        return self.dataset[index]
