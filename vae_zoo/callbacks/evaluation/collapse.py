"""Detection of posterior collapse."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from vae_zoo.callbacks.evaluation.units import LayerUnits
from vae_zoo.training.steps import seed_of
from vae_zoo.training.trainers import is_last_batch, loader_suffix, log_same


class CollapseWarning(Callback):
    """Logs the number of used latent dimensions at every validation, and warns of a posterior collapse.

    ``val/active_units`` counts the dimensions whose posterior mean varies, ``val/informative_units`` those whose rate
    is above 0.1 nats. A collapse is a layer of latents with hardly any active units, or a total rate near 0, since
    means may vary a little even if the posterior is as wide as the prior.

    With several validation loaders, the units of each are logged, and the warning depends on the first.

    Args:
        min_active: Smallest number of active units without a collapse.
        min_rate: Smallest total rate without a collapse, in nats.
        patience: Consecutive validations below these limits before the warning; a fit may start with a few.
        num_batches: Batches of the validation set to use.

    Raises:
        ValueError: If min_rate is negative, or another argument is less than 1.
    """

    val_curves = ("val/active_units", "val/informative_units")
    """Metrics of validations that a monitor may name although the sanity check does not log them."""

    def __init__(
        self, *, min_active: int = 1, min_rate: float = 0.5, patience: int = 10, num_batches: int = 10
    ) -> None:
        if min(min_active, patience, num_batches) < 1:
            raise ValueError(f"arguments must be at least 1, got {min_active}, {patience} and {num_batches}.")
        if not min_rate >= 0:
            raise ValueError(f"min_rate must be at least 0 nats, got {min_rate}.")
        self.min_active, self.min_rate = min_active, min_rate
        self.patience, self.num_batches = patience, num_batches
        self._units: dict[int, LayerUnits] = {}
        self._collapsed = 0

    def state_dict(self) -> dict[str, int]:
        return {"collapsed": self._collapsed}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        self._collapsed = state_dict["collapsed"]

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.sanity_checking:
            return
        if batch_idx < self.num_batches:
            x, c = pl_module.unpack(batch)  # type: ignore[operator]
            seed = seed_of(batch, batch_idx, rank=trainer.global_rank)
            self._units.setdefault(dataloader_idx, LayerUnits()).update(pl_module, x, c, seed)
        if is_last_batch(trainer, batch_idx, dataloader_idx):
            self._log(pl_module, dataloader_idx)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number in sorted(self._units):
            self._log(pl_module, number, loader_suffix(trainer, number))

    def _log(self, pl_module: LightningModule, dataloader_idx: int, suffix: str = "") -> None:
        units = self._units.pop(dataloader_idx).compute()
        for name, value in units.curves().items():
            log_same(pl_module, f"val/{name}{suffix}", value, batch_size=1, add_dataloader_idx=not suffix)
        if dataloader_idx:
            return
        active, dims, layer = min(
            zip(map(int, units.active), _sizes(pl_module), range(1, 1 + len(units.active)), strict=True)
        )
        empty = active < self.min_active
        faint = units.rate is not None and float(units.rate) < self.min_rate
        self._collapsed = self._collapsed + 1 if empty or faint else 0
        if self._collapsed == self.patience:
            what = f"{active} of {dims} latent dimensions vary with the example"
            what += f" in layer {layer}" * (len(units.active) > 1)
            if not empty:
                what = f"the latents carry {float(units.rate or 0):.2f} nats about an example in total"
            rank_zero_warn(
                f"posterior collapse: {what}, for {self.patience} validations. Anneal the divergence "
                "(LinearAnnealing), lower beta or the size of the decoder, or choose another likelihood "
                "(OptimalNormal for grey images)."
            )


def _sizes(model: Any) -> list[int]:
    """Latent dimensions of each layer."""
    return list(getattr(model, "latent_dims", [math.prod(model.latent_shape)]))
