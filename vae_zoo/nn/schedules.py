"""Schedules: numbers that change during training, as functions of the optimizer's step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn


class Schedule(nn.Module, ABC):
    """A number that depends on the step of training: a capacity, a temperature, a weight.

    It depends only on the trainer's step, so a resumed run continues it, and the accumulation of gradients does not
    speed it up. Evaluation uses the final value, so that metrics of all epochs can be compared.
    """

    now: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("now", torch.tensor(self.at(0)), persistent=False)

    @abstractmethod
    def at(self, step: int) -> float:
        """The value after a number of steps of the optimizer."""

    @property
    @abstractmethod
    def end(self) -> float:
        """The final value."""

    def set(self, step: int) -> None:
        """Move to a step; called before every batch of a fit."""
        self.now.fill_(self.at(step))

    def forward(self) -> Tensor:
        """The value now if the module is in training mode, else the final value; a scalar."""
        return self.now.clone() if self.training else torch.full_like(self.now, self.end)


class Constant(Schedule):
    """The same value at every step.

    Args:
        value: The value.

    Raises:
        ValueError: If it is not finite.
    """

    def __init__(self, value: float = 0.0) -> None:
        self.value = _finite("value", value)
        super().__init__()

    def at(self, step: int) -> float:  # noqa: ARG002
        return self.value

    @property
    def end(self) -> float:
        return self.value


class Delayed(Schedule):
    """0 for a number of steps, and 1 from then on.

    Args:
        num_steps: Number of steps of the optimizer at 0.

    Raises:
        ValueError: If num_steps is negative.
    """

    def __init__(self, num_steps: int = 0) -> None:
        if num_steps < 0:
            raise ValueError(f"the number of steps before a term starts must be at least 0, got {num_steps}.")
        self.num_steps, self.begun = num_steps, num_steps == 0
        super().__init__()

    def at(self, step: int) -> float:
        return float(step >= self.num_steps)

    @property
    def end(self) -> float:
        return 1.0

    def set(self, step: int) -> None:
        super().set(step)
        self.begun = self.at(step) > 0


class Ramp(Schedule):
    r"""Linear change from one value to another.

    .. math:: a + (b - a) \min(1, t / T)

    Args:
        start: Value a at the first step.
        end: Value b from step T on.
        num_steps: Number T of steps of the optimizer.

    Raises:
        ValueError: If a value is not finite, or num_steps is less than 1.
    """

    def __init__(self, start: float = 0.0, end: float = 1.0, num_steps: int = 10_000) -> None:
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
        self.start, self.last, self.num_steps = _finite("start", start), _finite("end", end), num_steps
        super().__init__()

    def at(self, step: int) -> float:
        return self.start + (self.last - self.start) * min(1.0, step / self.num_steps)

    @property
    def end(self) -> float:
        return self.last


class Exponential(Schedule):
    r"""Exponential change from one value to another.

    .. math:: a \, e^{\mp r t}, \quad \text{until it is } b

    Args:
        start: Value a at the first step.
        end: Value b, below a or above it, at which it stays.
        rate: Rate r of each step of the optimizer.

    Raises:
        ValueError: If a value is not positive and finite.
    """

    def __init__(self, start: float = 1.0, end: float = 0.5, rate: float = 3e-5) -> None:
        for name, value in (("start", start), ("end", end), ("rate", rate)):
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be positive and finite, got {value}.")
        self.start, self.last, self.rate = start, end, rate
        super().__init__()

    def at(self, step: int) -> float:
        way = math.log(self.last / self.start)
        return self.start * math.exp(math.copysign(min(self.rate * step, abs(way)), way))

    @property
    def end(self) -> float:
        return self.last


def _finite(name: str, value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, got {value}.")
    return float(value)
