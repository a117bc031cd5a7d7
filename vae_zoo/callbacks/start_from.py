"""Initialisation with the weights of another fit."""

from __future__ import annotations

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.checkpoints.files import verify
from vae_zoo.models import Autoencoder
from vae_zoo.security.untrusted import check_file
from vae_zoo.system.tensors import uncompiled


class StartFrom(Callback):
    """Starts a fit from the weights of a checkpoint, with a new optimizer and epochs from 1.

    The class of the model may differ from that in the checkpoint, for instance an IWAE that starts from a VAE. Resumed
    fits keep their own weights.

    Args:
        path: Checkpoint of a fit.
        strict: Whether the checkpoint must have exactly the weights of the model. Otherwise missing weights keep their
            initial values and additional ones are ignored; shapes must agree in any case.

    Raises:
        FileNotFoundError: At the start of the fit, if there is no such file.
        ValueError: At the start of the fit, if it is not a checkpoint, or has none of the model's weights.
    """

    def __init__(self, *, path: str, strict: bool = True) -> None:
        self.weights, self.strict = path, strict

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.ckpt_path is not None:
            return
        state = self._read()
        if not {uncompiled(name) for name in state} & pl_module.state_dict().keys():
            raise ValueError(f"{self.weights} has none of the weights of a {type(pl_module).__name__}.")
        pl_module.load_state_dict(state, strict=self.strict)
        if isinstance(pl_module, Autoencoder):
            pl_module.on_load_checkpoint({"state_dict": state})  # what would start from the data is there

    def _read(self) -> dict[str, torch.Tensor]:
        path = check_file(self.weights)
        verify(path)
        try:
            return dict(torch.load(path, map_location="cpu", weights_only=True)["state_dict"])
        except Exception as error:
            raise ValueError(f"{path} is no checkpoint, or a damaged one.") from error
