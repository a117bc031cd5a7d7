"""Fit of the prior over codes after the autoencoder."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.models import VQVAE


class FitCodePrior(Callback):
    """Fits only the distribution over codes in the last epochs, with encoder, decoder and codebook fixed.

    The learning rate of all other parameters is 0 in these epochs. It depends only on the epoch, so a resumed run
    equals the uninterrupted one, and a run resumed to train for longer trains everything again until its new last
    epochs. Every checkpoint can sample, before and after.

    References:
        | Neural Discrete Representation Learning, section 3.3 (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        num_epochs: Number of epochs at the end of the fit.

    Raises:
        ValueError: If num_epochs is less than 1; at the start of a fit, if the model has no codes, or the trainer has
            no further epochs.
    """

    kind: type[LightningModule] = VQVAE
    """The models that it is for; their last group of parameters is fitted."""

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

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:  # noqa: ARG002
        frozen = trainer.current_epoch >= (trainer.max_epochs or 0) - self.num_epochs
        pl_module.frozen = frozen  # type: ignore[assignment]
        for group in trainer.optimizers[0].param_groups[:-1]:  # the prior's is the last
            if frozen and not group.get("rested"):
                group["rested"] = group["lr"]  # in the optimizer's state, and therefore in a checkpoint
            elif not frozen and group.get("rested"):
                group["lr"] = group.pop("rested")
            if frozen:
                group["lr"] = 0.0  # again at each step: a scheduler may have set it

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        pl_module.frozen = False  # type: ignore[assignment]
