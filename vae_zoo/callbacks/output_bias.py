"""Initialisation of the decoder with the mean image."""

from __future__ import annotations

import math

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn

from vae_zoo.data import DataModule
from vae_zoo.distributions.bernoulli import IndependentBernoulli
from vae_zoo.distributions.likelihoods.scaled import unscaled
from vae_zoo.models import Autoencoder


class OutputBias(Callback):
    r"""Sets the bias of the decoder's last layer to the logit of the mean training example, before a fit from scratch.

    .. math:: b_i = \log \frac{m_i}{1 - m_i}, \quad m_i = \min(\max(\bar x_i, \epsilon), 1 - \epsilon)

    References:
        | Importance Weighted Autoencoders (Burda et al., 2016)
        | https://arxiv.org/abs/1509.00519

    Args:
        epsilon: Smallest distance ε of means from 0 and 1.

    Raises:
        ValueError: If epsilon does not lie between 0 and 0.5; at the start of the fit, if the likelihood is not
            Bernoulli, the decoder's last layer is not dense, or the data have no training split in memory.
    """

    def __init__(self, *, epsilon: float = 0.001) -> None:
        if not 0 < epsilon < 0.5:
            raise ValueError(f"epsilon must lie between 0 and 0.5, got {epsilon}.")
        self.epsilon = epsilon

    @torch.no_grad()
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is not None:
            return
        data = getattr(trainer, "datamodule", None)
        if not isinstance(pl_module, Autoencoder) or not isinstance(data, DataModule):
            raise ValueError("OutputBias needs a model and a data module of vae_zoo.")
        layers = [m for m in pl_module.decoder.modules() if isinstance(m, nn.Linear)]
        mean = data.examples("train").nanmean(0).nan_to_num(0.5).flatten().clamp(self.epsilon, 1 - self.epsilon)
        dense = bool(layers) and layers[-1].out_features == len(mean) == math.prod(pl_module.likelihood.param_shape)
        if not dense or type(unscaled(pl_module.likelihood.at_zeros())) is not IndependentBernoulli:
            raise ValueError("OutputBias needs a Bernoulli likelihood and a dense last layer in the decoder.")
        layers[-1].bias.copy_(torch.logit(mean))
