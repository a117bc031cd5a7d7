"""Mean, standard deviation and scale of the latents, in every checkpoint."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.callbacks.evaluation.passes import batches, data_of
from vae_zoo.evaluation.latents import check_scalable, posterior_moments
from vae_zoo.models import Autoencoder
from vae_zoo.training.latent_scale import LatentMoments


class LatentStatistics(Callback):
    """Measures :class:`~vae_zoo.training.latent_scale.LatentScale` at each validation, for the checkpoints after it.

    Statistics belong to weights. Measured at the end of a fit, they would be those of the last weights and not of the
    best ones, which were saved before; measured with the validation, which also sees averaged weights, they are in the
    same file as the weights that gave them. ``train/…`` curves and results of the fit do not change. For a checkpoint
    without them, ``vae-zoo export`` and ``predict`` measure them anew, given the data.

    Args:
        num: Training examples to encode each time.

    Raises:
        ValueError: If num is less than 1; at the start of the fit, if the latents are discrete or the data are not a
            data module of vae_zoo.
    """

    def __init__(self, *, num: int = 2048) -> None:
        if num < 1:
            raise ValueError(f"num must be at least 1, got {num}.")
        self.num = num

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not isinstance(pl_module, Autoencoder):
            raise ValueError(f"LatentStatistics needs a model of vae_zoo, got {type(pl_module).__name__}.")
        check_scalable(pl_module)
        data_of(trainer, "LatentStatistics")

    # With the first batch, since a callback of averaged weights has swapped them in by then, whatever the order.
    @torch.no_grad()
    def on_validation_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        batch: Any,  # noqa: ARG002
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        fitting = trainer.state.fn == "fit" and not trainer.sanity_checking
        if not fitting or batch_idx or dataloader_idx or not isinstance(pl_module, Autoencoder):
            return
        data = data_of(trainer, "LatentStatistics")
        moments = LatentMoments(pl_module.latent_shape[0], pl_module.device)
        for part in batches(data, "train", pl_module, seed=0, num=self.num):
            moments.add(*posterior_moments(pl_module, part))
        moments.sums = trainer.strategy.reduce(moments.sums, reduce_op="sum")
        pl_module.latent_scale = moments.compute(min(self.num, data.num_train))
