"""What a test says beyond the bound: the importance-weighted evidence and the active units."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from vae_zoo.callbacks import units
from vae_zoo.callbacks.units import LayerUnits
from vae_zoo.elbo import ELBOMixin
from vae_zoo.functional import bits_per_dim
from vae_zoo.metrics import Curves
from vae_zoo.models.steps import seed_of, unpack
from vae_zoo.seeding import forked, mix


class Evidence(Callback):
    """Logs ``test/log_evidence`` in nats, ``test/bits_per_dim`` and ``test/active_units``.

    A model without a bound has no evidence; only its active units are logged. One with several layers of latents has
    also ``test/active_units_1`` and so on, the lowest first.

    Args:
        num_samples: Importance samples of each example.
        chunk: Samples of each example decoded at once; chosen by memory if not given.

    Raises:
        ValueError: If num_samples is less than 1.
    """

    def __init__(self, *, num_samples: int = 500, chunk: int | None = None) -> None:
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
        self.num_samples, self.chunk = num_samples, chunk
        self._units, self._curves = LayerUnits(), Curves()

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        *_: Any,
    ) -> None:
        x, c = unpack(batch)
        self._units.update(pl_module, pl_module.embed(x, c))  # type: ignore[operator]
        if isinstance(pl_module, ELBOMixin):
            seed = mix(seed_of(batch, batch_idx, rank=trainer.global_rank), 1)  # not the noise of the bound again
            with forked(seed, pl_module.device):
                evidence = pl_module.log_evidence(x, c, self.num_samples, self.chunk)
            self._curves.update({"log_evidence": evidence.mean()}, len(x))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        means = self._curves.compute(lambda x: trainer.strategy.reduce(x, reduce_op="sum"))
        if means:
            means["bits_per_dim"] = bits_per_dim(-means["log_evidence"], math.prod(pl_module.shape))  # type: ignore[arg-type]
        means |= units.curves(self._units.compute())
        for name, value in means.items():
            pl_module.log(f"test/{name}", value)
