"""Base class of callbacks that compute metrics of the test split, and batches outside of Lightning's loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vae_zoo.data import DataModule
from vae_zoo.data.base.splits import SplitName
from vae_zoo.system.seeding import mix
from vae_zoo.training.trainers import log_same
from vae_zoo.typing import Batch

_CHUNK = 256


class TestMetrics(Callback, ABC):
    """Base of callbacks with additional test metrics; with several test loaders, only the first is used."""

    units: dict[str, str] = {}
    """Unit of each metric, by its name without the stage, for the report."""

    _metrics: dict[str, Any]

    @abstractmethod
    def start(self, trainer: Trainer, model: Any) -> None:
        """Reset, and refuse models and data for which the metrics are undefined."""

    @abstractmethod
    def add(self, model: Any, batch: Any) -> None:
        """Add a batch of the test split."""

    def metrics(self, trainer: Trainer, model: Any) -> dict[str, Tensor]:  # noqa: ARG002
        """The metrics over all batches and processes, by name."""
        return {name: metric.compute() for name, metric in self._metrics.items()}

    def reset(self, model: Any) -> None:
        """Move the metrics to the device of the model, and forget what they have seen."""
        for metric in self._metrics.values():
            metric.to(model.device).reset()

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.start(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,
    ) -> None:
        if not dataloader_idx:
            self.add(pl_module, batch)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, value in self.metrics(trainer, pl_module).items():
            log_same(pl_module, f"test/{name}", value.float())


def data_of(trainer: Trainer, who: str) -> DataModule:
    """The data module of a run.

    Raises:
        ValueError: If it is not one of ours.
    """
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, DataModule):
        raise ValueError(f"{who} needs a data module of vae_zoo, got {type(data).__name__}.")
    return data


def check_classes(data: DataModule, who: str, splits: Sequence[SplitName] = ("train", "test")) -> None:
    """Refuse data without classes.

    Raises:
        ValueError: If examples of the splits have no labels, or several.
    """
    for split in splits:
        labels = data.load(split).y
        if labels is None:
            raise ValueError(f"{who} needs data with labels: {type(data).__name__} has none.")
        if labels.ndim != 1:
            raise ValueError(f"{who} needs classes: {type(data).__name__} has several values of each example.")


def chunks_of_rank(total: int, trainer: Trainer) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of this process's chunks of a range; chunks do not depend on the number of processes."""
    for n, start in enumerate(range(0, total, _CHUNK)):
        if n % trainer.world_size == trainer.global_rank:
            yield n, start, min(start + _CHUNK, total)


def batches(
    data: DataModule, split: SplitName, model: LightningModule, *, seed: int, num: int | None = None
) -> Iterator[Batch]:
    """This process's share of a split, or of a random part of it, in batches."""
    size = len(data.load(split).x)
    rows = torch.randperm(size, generator=torch.Generator().manual_seed(seed))[:num]
    for n, start, end in chunks_of_rank(len(rows), model.trainer):
        yield data.prepared(split, rows[start:end], mix(seed, n), model.device)
