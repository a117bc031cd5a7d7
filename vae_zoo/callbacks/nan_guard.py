"""A loss that is no number ends the run, or its step is skipped."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from vae_zoo.callbacks.resuming import newest

TOTALS = ("loss", "elbo")
"""Curves that others add up to, which are therefore never the first to break."""


class NonFiniteLossError(ValueError):
    """A loss that has turned NaN or infinite."""


class NaNGuard(Callback):
    """Ends a run whose loss turns NaN or infinite, with the step, the term that broke and the last good checkpoint.

    On a CPU every loss is looked at before its gradient is taken. An accelerator, or several processes, would have to
    wait for that, so there it is done every ``log_every_n_steps``, for all steps since. A validation whose loss is not
    finite ends the run as well. Skipping looks at the gradient of every step, which an accelerator waits for.

    Args:
        skip: Leave the weights as they are at a step whose loss or gradient is not finite, count it as
            ``train/skipped``, and go on.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.skipped = 0
        self._rows: list[tuple[int, Tensor]] = []
        self._losses: list[Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._rows, self._losses = [], []

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        if self.skip:
            self._losses.append(loss.detach())
            return
        curves = _curves(pl_module)
        row = loss.detach().reshape(1) if curves is None else curves.last
        self._rows.append((trainer.global_step + 1, row))
        every = trainer.log_every_n_steps or 50  # type: ignore[attr-defined]
        if len(self._rows) >= every or (loss.device.type == "cpu" and trainer.world_size == 1):
            self._look(trainer, pl_module)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        if not self.skip:
            return
        losses, self._losses = self._losses, []
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g).to(losses[0].device) for g in gradients])
        finite = bool(torch.isfinite(torch.stack(losses)).all() & torch.isfinite(norms).all())
        if trainer.world_size > 1:
            finite = trainer.strategy.reduce_boolean_decision(finite, all=True)
        if finite:
            return
        optimizer.zero_grad(set_to_none=True)  # an optimizer leaves alone what has no gradient
        self.skipped += 1
        if (curves := _curves(pl_module)) is not None:
            curves.compute()  # else the mean over these steps would be no number
        pl_module.log("train/skipped", float(self.skipped), on_step=True, on_epoch=False, batch_size=1)
        if self.skipped == 1:
            step = trainer.global_step + 1
            rank_zero_warn(
                f"Step {step} is skipped, its loss or gradient is not finite: train/skipped counts such steps."
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self.skip or trainer.state.fn != "fit":
            return
        figures = {name[4:]: x for name, x in trainer.callback_metrics.items() if name.startswith("val/")}
        if any(not torch.isfinite(figures[name]) for name in TOTALS if name in figures):
            where = "before the first step" if trainer.sanity_checking else f"after step {trainer.global_step}"
            raise NonFiniteLossError(
                f"the validation loss is not finite {where}: {_broken(figures)}; {_advice(trainer)}"
            )

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]

    def _look(self, trainer: Trainer, pl_module: LightningModule) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        finite = torch.isfinite(rows[0][1] if len(rows) == 1 else torch.stack([row for _, row in rows]))
        fine = bool(finite.all())
        if trainer.world_size > 1:
            fine = trainer.strategy.reduce_boolean_decision(fine, all=True)
        if fine:
            return
        bad = next(((step, row) for step, row in rows if not torch.isfinite(row).all()), None)
        if bad is None:
            raise NonFiniteLossError(f"the loss of another process is not finite; {_advice(trainer)}")
        step, row = bad
        curves = _curves(pl_module)
        terms = dict(zip(["loss"] if curves is None else curves.names, row, strict=True))
        raise NonFiniteLossError(f"the loss is not finite at step {step}: {_broken(terms)}; {_advice(trainer)}")


def _curves(module: LightningModule) -> Any:
    return getattr(module, "_curves", {}).get("train")


def _broken(terms: dict[str, Tensor]) -> str:
    """The first term that is not finite."""
    order = sorted(terms, key=lambda name: name in TOTALS)
    name = next(name for name in order if not torch.isfinite(terms[name]))
    return f"{name} is {float(terms[name])}"


def _advice(trainer: Trainer) -> str:
    return f"last good checkpoint: {newest(trainer) or 'none'}"
