"""Steps with too large a gradient, by a loss that explodes at chosen steps."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Record, quiet_trainer, same_weights, tiny, tiny_data
from lightning.pytorch import Callback
from torch import Tensor

from vae_zoo.callbacks import GradientSkip
from vae_zoo.callbacks.gradient_skip import gradient_norm
from vae_zoo.models import VAE

LIMIT = 1e6


class Spiky(VAE):
    """A model whose loss is a million times too large at every third step."""

    factor = 1e6

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        trainer = self._trainer
        if trainer is not None and trainer.training and trainer.global_step % 3 == 2:
            values["loss"] = values["loss"] * self.factor
        return values


def fit(folder: Path, model: Any, epochs: int = 1, **kwargs: Any) -> tuple[Any, list[Tensor], GradientSkip]:
    skip, seen = GradientSkip(max_norm=LIMIT), []

    class Look(Callback):
        """Keeps a weight after each step."""

        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            seen.append(next(pl_module.parameters()).detach().clone())

    path = kwargs.pop("ckpt_path", None)
    trainer = quiet_trainer(folder, max_epochs=epochs, **{"callbacks": [skip, Look()], **kwargs})
    trainer.fit(model, tiny_data(), ckpt_path=path)
    return trainer, seen, skip


def spiky(**kwargs: Any) -> Any:
    torch.manual_seed(0)
    return tiny(Spiky, **kwargs)


def test_weights_stay_and_steps_and_schedules_go_on(tmp_path: Path) -> None:
    logger = Record()
    rate = partial(torch.optim.lr_scheduler.StepLR, step_size=1, gamma=0.5)
    trainer, seen, skip = fit(tmp_path, spiky(scheduler=rate), 2, logger=logger)
    steps = trainer.global_step
    assert steps == len(seen)
    same = [torch.equal(a, b) for a, b in pairwise(seen)]
    assert same == [n % 3 == 1 for n in range(steps - 1)]  # the step after is number n + 1
    assert skip.skipped == steps // 3 > 1
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(1e-3 / 4)
    assert max(logger.curve("train/gradient_skips").values()) == skip.skipped
    norms = logger.curve("train/gradient_norm")
    assert [norm > LIMIT for _, norm in sorted(norms.items())] == [n % 3 == 2 for n in range(steps)]


def test_without_a_large_gradient_nothing_changes(tmp_path: Path) -> None:
    models = []
    for callbacks in ([], [GradientSkip(max_norm=1e30)]):
        models.append(spiky())
        fit(tmp_path, models[-1], callbacks=callbacks)
    assert same_weights(*models)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path: Path) -> None:
    whole, half, resumed = spiky(), spiky(), spiky()
    *_, counted = fit(tmp_path, whole, 2)
    trainer, *_ = fit(tmp_path, half, 1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    *_, again = fit(tmp_path, resumed, 2, ckpt_path=tmp_path / "half.ckpt")
    assert same_weights(whole, resumed)
    assert counted.skipped == again.skipped > 1


def test_no_number_is_skipped(tmp_path: Path) -> None:
    class Broken(Spiky):
        factor = 1e6

        def on_after_backward(self) -> None:
            if self.trainer.global_step == 1:
                next(self.parameters()).grad.fill_(float("nan"))  # type: ignore[union-attr]

    torch.manual_seed(0)
    model = tiny(Broken)
    _, seen, skip = fit(tmp_path, model, limit_train_batches=2)
    assert skip.skipped == 1
    assert torch.equal(*seen)
    assert all(p.isfinite().all() for p in model.parameters())


def test_all_processes_skip_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the norm of another process that is too large."""
    model = tiny()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    asked = []

    class Strategy:
        def reduce(self, norm: Tensor, reduce_op: str) -> Tensor:
            asked.append((float(norm), reduce_op))
            return torch.full_like(norm, 2.0)

    class Two:
        world_size, log_every_n_steps, global_step, strategy = 2, 50, 0, Strategy()

    monkeypatch.setattr(model, "log", lambda *_, **__: None)
    for limit, kept in ((3.0, True), (1.0, False)):
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        skip = GradientSkip(max_norm=limit)
        skip.on_before_optimizer_step(Two(), model, optimizer)  # type: ignore[arg-type]
        assert (next(model.parameters()).grad is not None) is kept
        assert skip.skipped == (not kept)
    assert asked == [(0.0, "max")] * 2


def test_a_limit_below_every_gradient_is_warned_of(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="skipped 20 steps in a row, .* raise max_norm above"):
        fit(tmp_path, spiky(), 5, callbacks=[GradientSkip(max_norm=1e-9)])


def test_the_norm_is_that_of_torch() -> None:
    model = tiny()
    for p in model.parameters():
        p.grad = torch.randn_like(p)
    expected = torch.nn.utils.clip_grad_norm_(model.parameters(), 1e9)
    torch.testing.assert_close(gradient_norm(torch.optim.SGD(model.parameters()), model.device), expected)


@pytest.mark.parametrize("norm", [0.0, -1.0, float("inf"), float("nan")])
def test_bad_values(norm: float) -> None:
    with pytest.raises(ValueError, match="max_norm must be positive and finite, got"):
        GradientSkip(max_norm=norm)
