"""Checkpoints from which runs resume exactly, including runs stopped by a signal."""

from __future__ import annotations

import shlex
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from vae_zoo.callbacks.checkpointing import resuming
from vae_zoo.callbacks.checkpointing.stopping import Listener, Stopped
from vae_zoo.checkpoints.files import check_writable
from vae_zoo.system.locks import FolderLock


class BestCheckpoint(ModelCheckpoint):
    """Lightning's ``ModelCheckpoint``, with a check before the first step that it can write.

    A metric that is NaN or infinite is never among the best. Epochs count from 1 in names, as in the progress bar.

    Args:
        filename: Name of the files, with metrics in braces.
        auto_insert_metric_name: Whether to put the names of metrics before their values.
        kwargs: Arguments of Lightning's callback.

    Raises:
        CheckpointWriteError: When a fit starts, if the folder is not writable.
    """

    def __init__(
        self, *, filename: str | None = "{epoch:04d}", auto_insert_metric_name: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(filename=filename, auto_insert_metric_name=auto_insert_metric_name, **kwargs)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self._writes(trainer):
            check_writable(str(self.dirpath))

    def format_checkpoint_name(self, metrics: dict[str, Tensor], *args: Any, **kwargs: Any) -> str:
        counted = {name: value + 1 if name == "epoch" else value for name, value in metrics.items()}
        return super().format_checkpoint_name(counted, *args, **kwargs)

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        finite = current is not None and bool(torch.isfinite(current))
        return finite and super().check_monitor_top_k(trainer, current)

    def _writes(self, trainer: Trainer) -> bool:
        local = "://" not in str(self.dirpath)
        return local and trainer.is_global_zero and self.save_top_k != 0 and not getattr(trainer, "fast_dev_run", False)


class LastCheckpoint(BestCheckpoint):
    """Keeps ``last.ckpt``, and stops a fit on SIGTERM or SIGINT without losing a step.

    A run resumed from it is bitwise identical to the uninterrupted one: it is written at the end of an epoch, or after
    an optimizer step that is followed neither by a validation nor by the end of the epoch. On a signal, the run
    continues to the next such point, saves, and exits with 143 or 130; a second signal ends it at once. The folder
    belongs to one run at a time, and only a run resumed from a checkpoint in it may overwrite the last one of another.

    Args:
        filename: Name of the file.
        enable_version_counter: Whether to keep an earlier file of that name.
        save_on_train_epoch_end: Whether to save at the end of an epoch rather than of its validation.
        every_n_epochs: Number of epochs between saves at the end of an epoch.
        every_n_train_steps: Number of steps between additional saves.
        train_time_interval: Time between additional saves.
        kwargs: Arguments of Lightning's ``ModelCheckpoint``.

    Raises:
        ValueError: When a fit starts, if another run uses the folder, or has left its last checkpoint in it.
        CheckpointWriteError: When a fit starts, if the folder is not writable.
    """

    resume = 'resume by ckpt_path="{path}"'
    """Message about how to resume after a signal."""

    def __init__(
        self,
        *,
        filename: str | None = "last",
        enable_version_counter: bool = False,
        save_on_train_epoch_end: bool | None = True,
        every_n_epochs: int = 1,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            filename=filename,
            enable_version_counter=enable_version_counter,
            save_on_train_epoch_end=save_on_train_epoch_end,
            every_n_epochs=None if every_n_train_steps or train_time_interval is not None else every_n_epochs,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=train_time_interval,
            **kwargs,
        )
        self._every_n_epochs = every_n_epochs  # which Lightning takes for another choice
        self._steps, self._interval = every_n_train_steps or 0, train_time_interval
        self._signals = Listener()
        self._late = self._leaving = False
        self._untold: dict[str, float] = {}
        self._seen: dict[str, float] = {}
        self._lock: FolderLock | None = None
        self._versions = enable_version_counter

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_fit_start(trainer, pl_module)
        if self._writes(trainer):
            self._lock = FolderLock(str(self.dirpath))
            self._refuse_to_overwrite(trainer)
        self._late = self._leaving = False
        self._signals.start()  # before a loader starts its workers, which inherit it

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._signals.take_over(trainer)
        resuming.restore(trainer, self._seen)
        self._seen = {}
        resuming.step_plateau_schedulers(trainer, self._untold)
        self._untold = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        self._leave()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every = self._steps
        self._late |= every > 0 and trainer.global_step % every == 0
        self._late |= trainer.global_step == trainer.max_steps  # more of them go on from here, and not from an end
        if not resuming.exact(trainer):
            return
        self._leaving = self._signals.asked(trainer)  # and leave once the metrics of the step are logged
        if self._late or self._leaving:
            self._save_now(trainer)
        elif self._interval is not None:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if trainer.fit_loop.restarting:  # Lightning then tells schedulers nothing
            self._untold = resuming.pending(trainer)
        self._leaving = self._signals.asked(trainer, now=True)
        if self._late or self._leaving:
            self._save_now(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        resuming.step_plateau_schedulers(trainer, self._untold)
        self._untold = {}
        self._leave()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        self._leaving = self._leaving or self._signals.asked(trainer, now=True)
        self._leave()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        checkpoint["pending"], checkpoint["figures"] = resuming.pending(trainer), resuming.metrics_at_save(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:  # noqa: ARG002
        self._untold, self._seen = (resuming.remembered(checkpoint, key) for key in ("pending", "figures"))
        if trainer.state.fn == "fit" and trainer.ckpt_path is not None:  # a learning rate finder has none
            resuming.continue_files(trainer, checkpoint)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        super().on_exception(trainer, pl_module, exception)
        if isinstance(exception, Stopped) and trainer.is_global_zero:
            path = self.best_model_path
            rest = (
                self.resume.format(path=shlex.quote(path))
                if path and Path(path).is_file()
                else "no checkpoint was asked for"
            )
            name = signal.Signals(exception.signum).name
            print(f"stopped by {name} after step {trainer.global_step}: {rest}", file=sys.stderr, flush=True)
        self._end()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        self._end()

    def _save_now(self, trainer: Trainer) -> None:
        self._late = False
        if self.save_top_k != 0 and not self._should_skip_saving_checkpoint(trainer):
            self._save_none_monitor_checkpoint(trainer, self._monitor_candidates(trainer))

    def _leave(self) -> None:
        if self._leaving:
            raise Stopped(self._signals.signum)

    def _refuse_to_overwrite(self, trainer: Trainer) -> None:
        path = Path(self.format_checkpoint_name({}))
        resumed = Path(trainer.ckpt_path).resolve().parent if trainer.ckpt_path else None
        theirs = path.exists() and resumed != path.resolve().parent and str(path) != self._last_checkpoint_saved
        if theirs and not self._versions:
            self._end()
            raise ValueError(f"{path} is of another run: resume it by --ckpt_path, or give this one another folder.")

    def _end(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None
        self._signals.stop()
