"""Terminal output of a run: a table of the model, and a one-line progress bar without cost per step."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelSummary, RichProgressBar
from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.progress import ProgressColumn, Task
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text
from torch import nn
from torch.nn.parameter import is_lazy

_LEAST, _MOST = 8, 40
"""Columns that the bar of a line takes, if it is there at all."""


class TimedProgressBar(RichProgressBar):
    """Lightning's progress bar on one line at any width of the terminal, refreshed at intervals of time.

    Lightning's own bar fetches all metrics at every step, which waits for an accelerator. Epochs count from 1, as in
    the names of checkpoints and pictures.

    Args:
        interval: Seconds between two updates.
        kwargs: Arguments of Lightning's ``RichProgressBar``.

    Raises:
        ValueError: If interval is negative or not finite.
    """

    def __init__(self, *, interval: float = 0.2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= interval < math.inf:
            raise ValueError(f"interval must be at least 0 and finite, got {interval}.")
        self.interval, self._next = interval, 0.0
        self.metrics: dict[str, Any] = {}

    def configure_columns(self, trainer: Trainer) -> list[ProgressColumn]:
        return [_Line(self, trainer)]

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """None for the column that Lightning adds for them: they are in the line."""
        found = super().get_metrics(trainer, pl_module)
        self.metrics = {name: found[name] for name in sorted(found, key=lambda name: not name.startswith("val/"))}
        self.metrics.pop("v_num", None)
        return {}

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

    def _get_train_description(self, current_epoch: int) -> str:
        last = self.trainer.max_epochs
        of = "" if last in (None, -1) else f"/{last}"
        return f"Epoch {current_epoch + 1}{of}".ljust(len(self.validation_description))


class _Line(ProgressColumn):
    """Everything about one task, fitted to the width: the least important parts are left out first."""

    def __init__(self, bar: TimedProgressBar, trainer: Trainer) -> None:
        super().__init__()
        self._bar, self._trainer = bar, trainer

    def render(self, task: Task) -> RenderableType:
        fits = self._trainer.state.fn == "fit" and not self._trainer.sanity_checking
        shown = fits and self._bar.train_progress_bar_id == task.id
        return _Fitted(task, self._bar.metrics if shown else {})


class _Fitted:
    """One line of a task.

    Args:
        task: The task.
        metrics: Metrics to show, in order of importance.
    """

    def __init__(self, task: Task, metrics: dict[str, Any]) -> None:
        known = task.total is not None and math.isfinite(task.total)
        left = _clock(task.time_remaining) if known and not task.finished else ""
        texts = [f"{name} {_number(value)}" for name, value in metrics.items()]
        parts = [
            (0, task.description),
            (1, f"{int(task.completed)}/{int(task.total or 0) if known else '--'}"),
            (5, _clock(task.finished_time if task.finished else task.elapsed)),
            (4, f"{left} left" if left else ""),
            (6, f"{task.speed:.1f}/s" if task.speed else ""),
            *((n + 2 if n < 2 else n + 5, text) for n, text in enumerate(texts)),
        ]
        self._task, self._known = task, known
        self._parts = [(rank, text) for rank, text in parts if text]  # as they are shown, with what matters most as 0

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        used, kept = 0, set[int]()
        for rank, text in sorted(self._parts):
            if rank and used + len(text) > options.max_width - (_LEAST if rank > 1 else 0):
                break
            used += len(text) + 1
            kept.add(rank)
        shown = [text for rank, text in self._parts if rank in kept]
        cells: list[RenderableType] = [Text(text) for text in shown]
        size = min(_MOST, options.max_width - used)
        if size > 0:
            task = self._task
            total = task.total if self._known else None
            cells.insert(1, ProgressBar(total, max(0, task.completed), size, animation_time=task.get_time()))
        line = Table.grid(padding=(0, 1))
        for _ in cells:
            line.add_column(no_wrap=True)
        line.add_row(*cells)
        yield line


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else str(timedelta(seconds=int(seconds)))


def _number(value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if value == 0 or 0.01 <= abs(value) < 1e6 else f"{value:.3g}"


class ModelTable(ModelSummary):
    """Prints the parts of a model with their numbers of parameters at the start of a fit."""

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero:
            show_parts(pl_module)


def show_parts(model: nn.Module) -> None:
    """Print the table."""
    own = [(name, parameter, [parameter]) for name, parameter in model.named_parameters(recurse=False)]
    parts = [*own, *((name, part, list(part.parameters())) for name, part in model.named_children())]
    table = Table("name", "type", box=None, header_style="bold", pad_edge=False)
    table.add_column("parameters", justify="right")
    for name, part, parameters in parts:
        if parameters:
            table.add_row(name, type(part).__name__, f"{_count(parameters):,}")
    every = list(model.parameters())
    frozen = _count([parameter for parameter in every if not parameter.requires_grad])
    size = sum(parameter.numel() * parameter.element_size() for parameter in every if not is_lazy(parameter))
    aside = f", {frozen:,} of them frozen" if frozen else ""
    console = Console(markup=False, highlight=False)
    console.print(table)
    console.print(f"{type(model).__name__}: {_count(every):,} parameters, {size / 1e6:.1f} MB{aside}")


def _count(parameters: list[nn.Parameter]) -> int:
    """Numbers in parameters, also where a strategy keeps them in parts; those of a lazy module are not known yet."""
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in parameters if not is_lazy(parameter))
