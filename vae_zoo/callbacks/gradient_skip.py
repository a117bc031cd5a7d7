"""Steps whose gradient is too large are skipped."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor
from torch.optim import Optimizer

PATIENCE = 20
"""Steps in a row that are skipped before a warning: weights that stay the same have the same large gradients."""


class GradientSkip(Callback):
    r"""Leaves the weights as they are at steps whose gradient is longer than a limit, instead of shortening it.

    .. math:: \theta \leftarrow \theta + \Delta\theta \quad \text{only if } \|\nabla_\theta \mathcal{L}\|_2 \le G

    Deep hierarchies rarely have steps with a gradient that is larger by orders of magnitude, and which clipping would
    follow as far as any other. A skipped step counts as one of the trainer and of its schedules, as in the paper's
    code; the optimizer's moments do not see it. The norm is that before clipping, over all parameters of the
    optimizer, and the largest of all processes, so that all of them skip the same steps. A gradient that is not finite
    is skipped too.

    ``train/gradient_skips`` is the number of skipped steps so far, which a resumed run continues, and
    ``train/gradient_norm`` the norm at the steps that are logged. Each step synchronises with an accelerator.

    References:
        | Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images (Child, 2021)
        | https://arxiv.org/abs/2011.10650

    Args:
        max_norm: Limit G. The paper has 400 for a loss per dimension; losses here are sums over dimensions.

    Raises:
        ValueError: If max_norm is not positive and finite.
    """

    def __init__(self, *, max_norm: float = 400.0) -> None:
        if not (max_norm > 0 and math.isfinite(max_norm)):
            raise ValueError(f"max_norm must be positive and finite, got {max_norm}.")
        self.max_norm = max_norm
        self.skipped = self._in_a_row = 0

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        norm = gradient_norm(optimizer, pl_module.device)
        if trainer.world_size > 1:
            norm = trainer.strategy.reduce(norm.nan_to_num(nan=math.inf), reduce_op="max")
        if skip := not float(norm) <= self.max_norm:
            optimizer.zero_grad(set_to_none=True)  # an optimizer leaves alone what has no gradient
            self.skipped += 1
            self._in_a_row += 1
            if self._in_a_row == PATIENCE:
                rank_zero_warn(
                    f"GradientSkip has skipped {PATIENCE} steps in a row, the last with a gradient of norm "
                    f"{float(norm):.3g}: the model learns nothing; raise max_norm above {self.max_norm:g}."
                )
        else:
            self._in_a_row = 0
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
        if skip or (every and (trainer.global_step + 1) % every == 0):
            for name, value in (("gradient_skips", float(self.skipped)), ("gradient_norm", norm)):
                pl_module.log(f"train/{name}", value, on_step=True, on_epoch=False, batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        return {"skipped": self.skipped, "in_a_row": self._in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.skipped, self._in_a_row = state_dict["skipped"], state_dict["in_a_row"]


@torch.no_grad()
def gradient_norm(optimizer: Optimizer, device: torch.device) -> Tensor:
    """Euclidean norm of the gradient of all parameters of an optimizer, a scalar; 0 if there is none."""
    gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not gradients:
        return torch.zeros((), device=device)
    norms = [torch.linalg.vector_norm(g, dtype=torch.float32).to(device) for g in gradients]
    return torch.linalg.vector_norm(torch.stack(norms))
