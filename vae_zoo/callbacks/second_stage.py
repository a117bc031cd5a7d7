"""Fit of the second stage of a two-stage VAE after the first."""

from __future__ import annotations

from lightning.pytorch import LightningModule
from torch import nn

from vae_zoo.callbacks.code_prior import FitCodePrior
from vae_zoo.models import TwoStageVAE


class FitSecondStage(FitCodePrior):
    """Fits only the second stage of a :class:`~vae_zoo.models.TwoStageVAE` in the last epochs, as the paper does.

    The learning rate of all other parameters is 0 in these epochs. It depends only on the epoch, so a resumed run
    equals the uninterrupted one.

    References:
        | Diagnosing and Enhancing VAE Models (Dai and Wipf, 2019)
        | https://arxiv.org/abs/1903.05789

    Args:
        num_epochs: Number of epochs at the end of the fit.

    Raises:
        ValueError: If num_epochs is less than 1; at the start of a fit, if the model has no second stage, the trainer
            has no further epochs, or the second stage has no parameter group of its own.
    """

    kind = TwoStageVAE

    def fitted(self, pl_module: LightningModule) -> list[nn.Module]:
        assert isinstance(pl_module, TwoStageVAE)
        return [pl_module.second_stage]
