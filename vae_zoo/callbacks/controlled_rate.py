"""Control of the weight of the divergence by the divergence itself."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from vae_zoo.callbacks.annealing import check_weight_is_free


class ControlledRate(Callback):
    r"""Controls the weight of the divergence so that the divergence approaches a target: ControlVAE.

    .. math:: e = \mathrm{KL}^* - \mathrm{KL}, \quad
        \beta = \mathrm{clip} \Big( \frac{K_p}{1 + \exp(e)} + I, \beta_{\min}, \beta_{\max} \Big), \quad
        I \leftarrow \mathrm{clip}(I - K_i \, e, \beta_{\min}, \beta_{\max})

    KL is the mean over the last batch, of all processes. The integral I is kept within the bounds of β, so that
    it does not keep growing while β cannot follow, and β responds as soon as the error changes its sign. It is saved in
    checkpoints. Validation still reports the unweighted bound.

    References:
        | ControlVAE: Controllable Variational Autoencoder (Shao et al., 2020)
        | https://arxiv.org/abs/2004.05988

    Args:
        target: Divergence KL* in the end, in nats.
        start: Divergence KL* at first; None for ``target``.
        increment: Increase of KL* after every ``num_steps`` steps, until it is ``target``.
        num_steps: Optimizer steps at each KL* on the way.
        proportional: Gain K_p.
        integral: Gain K_i.
        min_weight: Smallest weight, 1 for disentangling and 0 for generation in the paper; the weight starts there.
        max_weight: Largest weight.

    Raises:
        ValueError: If a number is negative or not finite, min_weight exceeds max_weight, start exceeds target or
            num_steps is less than 1; at the start of the fit, if another callback sets the weight, or the model has no
            bound.
    """

    sets_kl_weight = True

    def __init__(
        self,
        *,
        target: float,
        start: float | None = None,
        increment: float = 0.15,
        num_steps: int = 5000,
        proportional: float = 0.01,
        integral: float = 1e-3,
        min_weight: float = 0.0,
        max_weight: float = 1.0,
    ) -> None:
        first = target if start is None else start
        given = {"target": target, "start": first, "increment": increment, "proportional": proportional}
        given |= {"integral": integral, "min_weight": min_weight, "max_weight": max_weight}
        for name, value in given.items():
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
        if min_weight > max_weight or first > target:
            low, high = ("min_weight", "max_weight") if min_weight > max_weight else ("start", "target")
            raise ValueError(f"{low} must be at most {high}, got {given[low]} and {given[high]}.")
        if num_steps < 1:
            raise ValueError(f"num_steps must be at least 1, got {num_steps}.")
        self.goal, self.first, self.increment, self.num_steps = target, first, increment, num_steps
        self.proportional, self.integral = proportional, integral
        self.min_weight, self.max_weight = min_weight, max_weight
        self._sum = self._weight = torch.tensor(min_weight)
        self._step = 0

    def target(self, step: int) -> float:
        """Divergence KL* at a step, in nats."""
        return min(self.goal, self.first + self.increment * (step // self.num_steps))

    def control(self, kl: Tensor, step: int) -> Tensor:
        """The weight after a batch with a divergence, a scalar."""
        error = self.target(step) - kl
        self._sum = (self._sum - self.integral * error).clamp(self.min_weight, self.max_weight)
        weight = self.proportional * torch.sigmoid(-error) + self._sum
        self._weight = weight.clamp(self.min_weight, self.max_weight)
        return self._weight

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        check_weight_is_free(self, trainer, pl_module)
        self._sum, self._weight = self._sum.to(pl_module.device), self._weight.to(pl_module.device)
        pl_module.kl_weight = self._weight.clone()
        self._step = trainer.global_step

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,  # noqa: ARG002
        batch_idx: int,  # noqa: ARG002
    ) -> None:
        if trainer.global_step == self._step:  # gradients are accumulated
            return
        self._step = trainer.global_step
        curves: Any = pl_module._curves["train"]  # type: ignore[index]
        kl = curves.last[curves.names.index("kl")]
        pl_module.kl_weight.copy_(self.control(trainer.strategy.reduce(kl, reduce_op="mean"), self._step))  # type: ignore[operator]

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        pl_module.kl_weight = None  # type: ignore[assignment]

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:  # noqa: ARG002
        self.on_fit_end(trainer, pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"sum": float(self._sum), "weight": float(self._weight)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._sum, self._weight = (torch.tensor(float(state_dict[name])) for name in ("sum", "weight"))
