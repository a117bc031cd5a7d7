"""Schedules: functions of the optimizer's step that survive a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import quiet_trainer, tiny_data
from lightning.pytorch import Callback
from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.models import VAE
from vae_zoo.nn import Constant, Dense, Exponential, Ramp, Schedule


class Scheduled(VAE):
    """A model with a schedule, which is no variant."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.capacity = Ramp(0.0, 5.0, 8)

    def objective(self, elbo: ELBO) -> dict[str, Tensor]:
        return super().objective(elbo) | {"capacity": self.capacity()}


class Seen(Callback):
    """Keeps the capacity of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        self.seen.append(float(pl_module.capacity.now))


def values(schedule: Schedule, *steps: int) -> list[float]:
    return [schedule.at(step) for step in steps]


def test_values() -> None:
    assert values(Constant(3.0), 0, 10) == [3.0, 3.0]
    assert values(Ramp(1.0, 5.0, 4), 0, 1, 4, 9) == [1.0, 2.0, 5.0, 5.0]
    assert values(Ramp(2.0, 0.0, 2), 0, 1, 2) == [2.0, 1.0, 0.0]
    falling = Exponential(1.0, 0.5, 0.1)
    assert values(falling, 0, 3, 1000) == pytest.approx([1.0, 0.740818, 0.5])
    assert values(Exponential(0.5, 1.0, 0.1), 0, 3, 1000) == pytest.approx([0.5, 0.674929, 1.0])
    assert falling.end == 0.5


def test_evaluation_uses_the_value_at_the_end() -> None:
    ramp = Ramp(0.0, 5.0, 10)
    ramp.set(3)
    assert ramp() == pytest.approx(1.5)
    assert ramp.eval()() == 5.0
    assert ramp.train()() == pytest.approx(1.5)


@pytest.mark.parametrize(
    "make", [lambda: Ramp(num_steps=0), lambda: Ramp(end=float("nan")), lambda: Exponential(end=0.0)]
)
def test_refuses(make: Any) -> None:
    with pytest.raises(ValueError, match="must be"):
        make()


def seen(folder: Path, *, start: Path | None = None, epochs: int, **kwargs: Any) -> list[float]:
    torch.manual_seed(0)
    model = Scheduled(shape=(1, 8, 8), latent_dim=2, encoder=Dense, decoder=Dense)
    spy = Seen()
    trainer = quiet_trainer(folder, max_epochs=epochs, callbacks=[spy], **kwargs)
    trainer.fit(model, tiny_data(num_examples=40, batch_size=10), ckpt_path=start)
    trainer.save_checkpoint(folder / "last.ckpt")
    return spy.seen


@pytest.mark.exhaustive
def test_a_resumed_run_continues_it(tmp_path: Path) -> None:
    whole = seen(tmp_path / "a", epochs=3)
    first = seen(tmp_path / "b", epochs=1)
    rest = seen(tmp_path / "c", epochs=3, start=tmp_path / "b" / "last.ckpt")
    assert len(set(whole)) > 4
    assert first + rest == whole


def test_accumulation_counts_steps_of_the_optimizer(tmp_path: Path) -> None:
    whole = seen(tmp_path, epochs=2, accumulate_grad_batches=2)
    assert whole == [0.0, 0.0, 0.625, 1.25, 1.25, 1.875]  # the third batch of an epoch is a step of its own
