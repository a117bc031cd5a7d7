"""Fit of the prior over codes after the autoencoder."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from vae_zoo.models import VQVAE
from vae_zoo.nn import CodePrior


class FitCodePrior(Callback):
    """Fits only the distribution over codes in the last epochs, with encoder, decoder and codebook fixed.

    The learning rate of all other parameters, such as those of a discriminator, is 0 in these epochs. It depends only
    on the epoch, so a resumed run equals the uninterrupted one, and a run resumed to train for longer trains everything
    again until its new last epochs. Every checkpoint can sample, before and after.

    References:
        | Neural Discrete Representation Learning, section 3.3 (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        num_epochs: Number of epochs at the end of the fit.

    Raises:
        ValueError: If num_epochs is less than 1; at the start of a fit, if the model has no codes, the trainer has no
            further epochs, or the prior has no parameter group of its own.
    """

    kind: type[LightningModule] = VQVAE
    """The models that it is for."""

    def __init__(self, *, num_epochs: int = 20) -> None:
        if num_epochs < 1:
            raise ValueError(f"num_epochs must be at least 1, got {num_epochs}.")
        self.num_epochs = num_epochs

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        name = type(self).__name__
        if not isinstance(pl_module, self.kind):
            raise ValueError(f"{name} needs a {self.kind.__name__}, got a {type(pl_module).__name__}.")
        epochs = trainer.max_epochs or 0
        if epochs <= self.num_epochs and not getattr(trainer, "fast_dev_run", False):
            raise ValueError(f"max_epochs must be above {name}'s num_epochs of {self.num_epochs}, got {epochs}.")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not any(fitted for _, fitted in self._groups(trainer, pl_module)):
            name = type(self).__name__
            raise ValueError(f"{name} needs an optimizer with a parameter group of what it fits, and of nothing else.")

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        frozen = trainer.current_epoch >= (trainer.max_epochs or 0) - self.num_epochs
        pl_module.frozen = frozen  # type: ignore[assignment]
        for group, fitted in self._groups(trainer, pl_module):
            rests = frozen and not fitted
            if rests and not group.get("rested"):
                group["rested"] = group["lr"]  # in the optimizer's state, and therefore in a checkpoint
            elif not rests and group.get("rested"):
                group["lr"] = group.pop("rested")
            if rests:
                group["lr"] = 0.0  # again at each step: a scheduler may have set it

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        pl_module.frozen = False  # type: ignore[assignment]

    def fitted(self, pl_module: LightningModule) -> list[nn.Module]:
        """The modules that are trained in the last epochs."""
        return [module for module in pl_module.modules() if isinstance(module, CodePrior)]

    def _groups(self, trainer: Trainer, pl_module: LightningModule) -> list[tuple[dict[str, Any], bool]]:
        """The parameter groups of all optimizers, and whether each consists of parameters that are fitted."""
        fitted = {id(p) for module in self.fitted(pl_module) for p in module.parameters()}
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups if group["params"]]
        return [(group, all(id(p) in fitted for p in group["params"])) for group in groups]
