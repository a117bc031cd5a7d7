"""Annealing of the divergence's weight. The weight is a function of the trainer's step, so it survives a resume."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer


class Annealing(Callback, ABC):
    """Sets the weight of the divergence at every step; validation keeps reporting the unweighted bound.

    Args:
        num_steps: Length of the schedule in optimizer steps.
        num_epochs: Length of the schedule in epochs; give one of the two.
        start: Weight to start from.

    Raises:
        ValueError: If not exactly one length is given, it is not positive, or start is outside [0, 1].
    """

    def __init__(self, *, num_steps: int | None = None, num_epochs: float | None = None, start: float = 0.0) -> None:
        if (num_steps is None) == (num_epochs is None):
            raise ValueError(f"give either num_steps or num_epochs, got {num_steps} and {num_epochs}.")
        if not (num_steps or num_epochs or 0) > 0:
            raise ValueError(f"the schedule must be longer than 0, got {num_steps or num_epochs}.")
        if not 0 <= start <= 1:
            raise ValueError(f"start must be between 0 and 1, got {start}.")
        self.num_steps, self.num_epochs, self.start = num_steps, num_epochs, start

    @abstractmethod
    def ramp(self, progress: float) -> float:
        """Fraction of the way from start to 1, at ``progress`` schedule lengths since the start of training."""

    def weight(self, step: int, epochs: float) -> float:
        """Weight at a step, which is also so many epochs into training."""
        progress = step / self.num_steps if self.num_steps else epochs / self.num_epochs  # type: ignore[operator]
        return self.start + (1 - self.start) * self.ramp(progress)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if not hasattr(pl_module, "kl_weight"):
            raise ValueError(f"{type(self).__name__} needs a model with a bound, {type(pl_module).__name__} has none.")
        pl_module.kl_weight = torch.ones((), device=pl_module.device)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        epochs = trainer.current_epoch + batch_idx / trainer.num_training_batches
        pl_module.kl_weight.fill_(self.weight(trainer.global_step, epochs))  # type: ignore[operator]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        pl_module.kl_weight = None  # type: ignore[assignment]

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self.on_fit_end(trainer, pl_module)


class LinearAnnealing(Annealing):
    r"""Weight of the divergence that rises linearly and stays at 1.

    .. math:: w(t) = w_0 + (1 - w_0) \min(1, t / T)

    References:
        | Generating Sentences from a Continuous Space (Bowman et al., 2016)
        | https://arxiv.org/abs/1511.06349

    Args:
        num_steps: Optimizer steps T until the weight is 1.
        num_epochs: Epochs T until the weight is 1; give one of the two.
        start: Weight to start from.
    """

    def ramp(self, progress: float) -> float:
        return min(1.0, progress)


class CyclicalAnnealing(Annealing):
    r"""Weight of the divergence that rises linearly and falls back, again and again.

    .. math:: w(t) = w_0 + (1 - w_0) \min(1, \tau / R), \quad \tau = (t \bmod T) / T

    References:
        | Cyclical Annealing Schedule: A Simple Approach to Mitigating KL Vanishing (Fu et al., 2019)
        | https://arxiv.org/abs/1903.10145

    Args:
        num_steps: Optimizer steps T of one cycle.
        num_epochs: Epochs T of one cycle; give one of the two.
        start: Weight that every cycle starts from.
        ratio: Part R of a cycle during which the weight rises.

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

    def ramp(self, progress: float) -> float:
        return min(1.0, progress % 1.0 / self.ratio)
