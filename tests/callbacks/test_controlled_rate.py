from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import fit
from lightning.pytorch import Callback, Trainer

from vae_zoo.callbacks import ControlledRate, LinearAnnealing
from vae_zoo.models import AE


def run(controller: ControlledRate, num: int, plant: Any, first: int = 0) -> list[tuple[float, float]]:
    """Weights, and the divergence that a plant answers them with."""
    weight, rows = float(controller._weight), []
    for step in range(first, first + num):
        kl = plant(weight)
        weight = float(controller.control(torch.tensor(kl), step))
        rows.append((weight, kl))
    return rows


def test_reaches_its_target() -> None:
    rows = run(ControlledRate(target=5.0, integral=0.01, max_weight=100.0), 3000, lambda beta: 20 / (1 + beta))
    assert rows[-1][1] == pytest.approx(5.0, abs=0.01)
    assert rows[-1][0] == pytest.approx(3.0, abs=0.01)


def test_recovers_at_once_after_saturation() -> None:
    """Without bounds of its own, the integral would need as long to come down as it was pushed up."""
    controller = ControlledRate(target=5.0, integral=0.01, max_weight=2.0)
    saturated = run(controller, 5000, lambda _: 50.0)
    assert {weight for weight, _ in saturated[100:]} == {2.0}
    released = run(controller, 5, lambda _: 0.0)
    assert all(weight < 2.0 for weight, _ in released[1:])
    again = run(controller, 45, lambda _: 0.0)
    assert again[-1][0] == pytest.approx(0.0, abs=1e-4)


def test_the_formula() -> None:
    controller = ControlledRate(target=3.0, proportional=0.5, integral=0.1, min_weight=1.0, max_weight=10.0)
    expected = 0.5 / (1 + torch.exp(torch.tensor(3.0 - 4.0))) + (1.0 + 0.1 * 1.0)
    torch.testing.assert_close(controller.control(torch.tensor(4.0), 0), expected)
    assert bool(controller.control(torch.tensor(1e6), 0).isfinite())  # exp(e) of the other sign would not be
    assert bool(ControlledRate(target=1e6).control(torch.tensor(0.0), 0).isfinite())


def test_a_target_in_stages() -> None:
    controller = ControlledRate(target=1.0, start=0.5, increment=0.15, num_steps=10)
    found = [controller.target(step) for step in (0, 9, 10, 20, 30, 40, 1000)]
    assert found == pytest.approx([0.5, 0.5, 0.65, 0.8, 0.95, 1.0, 1.0])


class Watch(Callback):
    def __init__(self, path: Path | None = None) -> None:
        self.path, self.weights = path, {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        self.weights[trainer.global_step] = float(pl_module.kl_weight)

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if self.path is not None and trainer.global_step == 7:
            trainer.save_checkpoint(self.path)


def controlled() -> ControlledRate:
    return ControlledRate(target=0.3, integral=0.05, min_weight=0.5, max_weight=5.0)


def test_a_fit_resumes_bitwise(tmp_path: Path) -> None:
    path, watch, after = tmp_path / "seven.ckpt", Watch(tmp_path / "seven.ckpt"), Watch()
    whole, _ = fit(tmp_path, callbacks=[controlled(), watch])  # which saves last, as checkpoints do
    resumed, _ = fit(tmp_path, callbacks=[controlled(), after], ckpt_path=path)
    assert list(after.weights) == [7, 8, 9]
    assert after.weights == {step: watch.weights[step] for step in (7, 8, 9)}
    assert len(set(watch.weights.values())) > 5
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert whole.kl_weight is None


def test_moves_once_a_step_of_the_optimizer(tmp_path: Path) -> None:
    watch = Watch()
    fit(tmp_path, callbacks=[watch, controlled()], accumulate_grad_batches=2, max_epochs=1)
    assert list(watch.weights) == [0, 1, 2]


class TestRefuses:
    @pytest.mark.parametrize(
        ("kwargs", "said"),
        [
            ({"target": -1.0}, "target must be at least 0 and finite, got -1.0"),
            ({"target": 1.0, "min_weight": 2.0}, "min_weight must be at most max_weight, got 2.0 and 1.0"),
            ({"target": 1.0, "start": 2.0}, "start must be at most target, got 2.0 and 1.0"),
            ({"target": 1.0, "num_steps": 0}, "num_steps must be at least 1, got 0"),
        ],
    )
    def test_bad_values(self, kwargs: dict[str, Any], said: str) -> None:
        with pytest.raises(ValueError, match=said):
            ControlledRate(**kwargs)

    def test_two_that_set_the_weight(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="ControlledRate and LinearAnnealing would all set the weight"):
            fit(tmp_path, callbacks=[controlled(), LinearAnnealing(num_steps=3)])

    def test_a_model_without_a_bound(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="ControlledRate needs a model with a bound, AE has none"):
            fit(tmp_path, AE, callbacks=[controlled()])
