"""Annealing of the divergence's weight. The weight is a function of the trainer's step, so it survives a resume."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from vae_zoo.training.trainers import steps_of_epoch

_TINY = 1e-9
"""Tolerance when comparing a number of epochs with the end of a schedule."""


def check_weight_is_free(callback: Callback, trainer: Trainer, pl_module: LightningModule) -> None:
    """Refuse a callback that sets the weight of the divergence, if there is none or something else sets it too.

    Raises:
        ValueError: With the model or the other callback.
    """
    name, model = type(callback).__name__, type(pl_module).__name__
    if not hasattr(pl_module, "kl_weight"):
        raise ValueError(f"{name} needs a model with a bound, {model} has none.")
    if own := getattr(pl_module, "own_schedule", ""):
        raise ValueError(f"{model} has {own}, which {name} would work against.")
    names = [type(c).__name__ for c in trainer.callbacks if getattr(c, "sets_kl_weight", False)]  # type: ignore[attr-defined]
    if len(names) > 1:
        raise ValueError(f"{' and '.join(names)} would all set the weight of the divergence: give one of them.")


class Annealing(Callback, ABC):
    """Sets the weight of the divergence at every step; validation still reports the unweighted bound.

    During the schedule that bound may be better than at its end, with a model that is not the intended one. So
    early stopping and schedulers on a plateau are suspended until the end of the schedule, and at the first validation
    after it the best checkpoints so far are discarded.

    Args:
        num_steps: Length of the schedule in optimizer steps.
        num_epochs: Length of the schedule in epochs; give one of the two.
        start: Initial weight.

    Raises:
        ValueError: If not exactly one length is given, it is not positive, or start is outside [0, 1].
    """

    sets_kl_weight = True

    def __init__(self, *, num_steps: int | None = None, num_epochs: float | None = None, start: float = 0.0) -> None:
        if (num_steps is None) == (num_epochs is None):
            raise ValueError(f"give either num_steps or num_epochs, got {num_steps} and {num_epochs}.")
        if not (num_steps or num_epochs or 0) > 0:
            raise ValueError(f"the schedule must be longer than 0, got {num_steps or num_epochs}.")
        if not 0 <= start <= 1:
            raise ValueError(f"start must be between 0 and 1, got {start}.")
        self.num_steps, self.num_epochs, self.start = num_steps, num_epochs, start
        self._settled = False  # there has been a validation that counts
        self._patched: list[tuple[Callback, str]] = []

    first = 1.0
    """Part of the schedule after which the weight has been 1."""

    @abstractmethod
    def ramp(self, progress: float) -> float:
        """Fraction of the way from start to 1, at ``progress`` schedule lengths since the start of training."""

    def full(self, progress: float) -> bool:
        """Whether the weight is 1 after a number of schedule lengths, or will never be 1 for longer than now."""
        return progress >= 1 - _TINY

    def rising(self, trainer: Trainer) -> bool:
        """Whether the schedule has not ended, so that validation metrics are preliminary."""
        loop = trainer.fit_loop.epoch_loop
        done = loop.batch_progress.current.ready / max(1, trainer.num_training_batches)
        return self.start < 1 and not self.full(self._progress(trainer.global_step, trainer.current_epoch + done))

    def weight(self, step: int, epochs: float) -> float:
        """Weight at a step, given also as a number of epochs."""
        return self.start + (1 - self.start) * self.ramp(self._progress(step, epochs))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_weight_is_free(self, trainer, pl_module)
        pl_module.kl_weight = torch.ones((), device=pl_module.device)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, EarlyStopping):
                self._patch(callback, "_should_skip_check", self._skip)
            elif isinstance(callback, ModelCheckpoint) and callback.monitor is not None:
                self._patch(callback, "check_monitor_top_k", self._judge)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Warn if the run ends before the schedule."""
        per_epoch = steps_of_epoch(trainer)
        epochs = math.inf if trainer.max_epochs in (None, -1) else float(trainer.max_epochs or 0)
        steps = math.inf if trainer.max_steps == -1 else trainer.max_steps
        if math.isfinite(per_epoch):
            epochs, steps = min(epochs, steps / per_epoch), min(steps, epochs * per_epoch)
        last = self._progress(steps, epochs)
        if last < self.first - _TINY and not getattr(trainer, "fast_dev_run", False):
            length = f"{self.num_steps} steps" if self.num_steps else f"{self.num_epochs:g} epochs"
            rank_zero_info(
                f"{type(self).__name__} takes {length}, which the run does not last: the weight of the divergence ends "
                f"at {self.start + (1 - self.start) * self.ramp(last):.2g}, and nothing stops the run early."
            )

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        epochs = trainer.current_epoch + batch_idx / trainer.num_training_batches
        pl_module.kl_weight.fill_(self.weight(trainer.global_step, epochs))  # type: ignore[operator]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        pl_module.kl_weight = None  # type: ignore[assignment]
        for callback, name in self._patched:
            vars(callback).pop(name, None)
        self._patched = []

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self.on_fit_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"settled": self._settled}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._settled = bool(state_dict["settled"])

    def _progress(self, step: float, epochs: float) -> float:
        return step / self.num_steps if self.num_steps else epochs / self.num_epochs  # type: ignore[operator]

    def _patch(self, callback: Callback, name: str, function: Callable[..., Any]) -> None:
        setattr(callback, name, partial(function, callback, getattr(callback, name)))
        self._patched.append((callback, name))

    def _skip(self, callback: EarlyStopping, real: Callable[..., bool], trainer: Trainer) -> bool:  # noqa: ARG002
        return self.rising(trainer) or real(trainer)

    def _judge(
        self, callback: ModelCheckpoint, real: Callable[..., bool], trainer: Trainer, current: Tensor | None = None
    ) -> bool:
        """Whether a checkpoint is among the best: while the weight rises for the first time, of those so far."""
        rising = self.rising(trainer)
        if callback.save_top_k == -1 or (rising and not self._settled):
            return real(trainer, current)
        if not self._settled:
            self._settled = True
            for other, name in self._patched:
                if name == "check_monitor_top_k":
                    _forget(trainer, other)
        return not rising and real(trainer, current)


def _forget(trainer: Trainer, callback: Any) -> None:
    """Remove what a callback has kept as the best."""
    for path in callback.best_k_models if callback.save_top_k != -1 else ():
        if path != str(trainer.ckpt_path):
            callback._remove_checkpoint(trainer, path)
    callback.best_k_models, callback.kth_best_model_path, callback.best_model_path = {}, "", ""
    callback.best_model_score = callback.current_score = None


class LinearAnnealing(Annealing):
    r"""Raises the weight of the divergence linearly to 1.

    .. math:: w(t) = w_0 + (1 - w_0) \min(1, t / T)

    References:
        | Generating Sentences from a Continuous Space (Bowman et al., 2016)
        | https://arxiv.org/abs/1511.06349

    Args:
        num_steps: Optimizer steps T until the weight is 1.
        num_epochs: Epochs T until the weight is 1; give one of the two.
        start: Initial weight.
    """

    def ramp(self, progress: float) -> float:
        return min(1.0, progress)


class CyclicalAnnealing(Annealing):
    r"""Raises the weight of the divergence linearly in repeated cycles.

    .. math:: w(t) = w_0 + (1 - w_0) \min(1, \tau / R), \quad \tau = (t \bmod T) / T

    References:
        | Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing (Fu et al., 2019)
        | https://arxiv.org/abs/1903.10145

    Args:
        num_steps: Optimizer steps T of one cycle.
        num_epochs: Epochs T of one cycle; give one of the two.
        start: Weight at the start of every cycle.
        ratio: Fraction R of a cycle during which the weight rises.

    Raises:
        ValueError: If ratio is outside (0, 1].
    """

    def __init__(
        self, *, num_steps: int | None = None, num_epochs: float | None = None, start: float = 0.0, ratio: float = 0.5
    ) -> None:
        super().__init__(num_steps=num_steps, num_epochs=num_epochs, start=start)
        if not 0 < ratio <= 1:
            raise ValueError(f"ratio must be above 0 and at most 1, got {ratio}.")
        self.ratio = ratio

    @property
    def first(self) -> float:  # type: ignore[override]
        return self.ratio

    def full(self, progress: float) -> bool:
        if self.ratio == 1:  # it always rises, and is 1 for no more than a moment
            return super().full(progress)
        within = (progress + _TINY) % 1.0
        return within >= self.ratio or (progress >= 1 - _TINY and within < 2 * _TINY)

    def ramp(self, progress: float) -> float:
        return min(1.0, progress % 1.0 / self.ratio)
