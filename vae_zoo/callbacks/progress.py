"""A progress bar that costs a step nothing."""

from __future__ import annotations

import time
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class TimedProgressBar(RichProgressBar):
    """Lightning's progress bar, brought up to date by time and not at every step.

    At every step it would ask for all the metrics, and on an accelerator wait for them.

    Args:
        interval: Seconds between two updates.
        kwargs: Arguments of Lightning's ``RichProgressBar``.
    """

    def __init__(self, *, interval: float = 0.2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.interval, self._next = interval, 0.0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._due(batch_idx, trainer.num_training_batches):
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        batches = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
        if self._due(batch_idx, batches[dataloader_idx]):
            super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

    def _due(self, batch_idx: int, num_batches: float) -> bool:
        now = time.monotonic()
        if now < self._next and batch_idx + 1 < num_batches:
            return False
        self._next = now + self.interval
        return True
