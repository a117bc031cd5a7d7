"""Handling of steps with a NaN or infinite loss."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

from vae_zoo.training.guard import Guard, NonFiniteLossError

__all__ = ["NaNGuard", "NonFiniteLossError"]


class NaNGuard(Callback):
    """Ends a run whose loss turns NaN or infinite, with the step, the term that broke and the last good checkpoint.

    Models of the zoo do this themselves, by :class:`vae_zoo.training.guard.Guard`; for the loss of other models, this
    callback does. Skipping checks the gradient of every step, which synchronises with an accelerator.

    Args:
        skip: Skip steps whose loss or gradient is not finite, count them as ``train/skipped``, and continue.
    """

    def __init__(self, *, skip: bool = False) -> None:
        self.skip = skip
        self.skipped = 0
        self._losses: list[Tensor] = []
        self._guard: Guard | None = None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._losses = []
        own = getattr(pl_module, "guard", None)
        self._guard = None if isinstance(own, Guard) or self.skip else Guard()
        if isinstance(own, Guard):
            own.losses = not self.skip

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:  # noqa: ARG002
        if self.skip:
            self._losses.append(loss.detach())
        elif self._guard is not None and self._guard.see_loss(trainer, loss.reshape(1)):
            self._guard.look(trainer, ["loss"])

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
        if (curves := getattr(pl_module, "_curves", {}).get("train")) is not None:
            curves.compute()  # else the mean over these steps would be no number
        pl_module.log("train/skipped", float(self.skipped), on_step=True, on_epoch=False, batch_size=1)
        if self.skipped == 1:
            step = trainer.global_step + 1
            rank_zero_warn(
                f"Step {step} is skipped, its loss or gradient is not finite: train/skipped counts such steps."
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self._guard is not None:
            self._guard.look(trainer, ["loss"])

    on_validation_start = on_train_epoch_end

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped = state_dict["skipped"]
