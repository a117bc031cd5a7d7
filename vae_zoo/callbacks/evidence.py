"""What a test says beyond the bound: the importance-weighted evidence and the active units."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics import CatMetric

from vae_zoo.callbacks import units
from vae_zoo.callbacks.units import LayerUnits
from vae_zoo.elbo import ELBOMixin, has_density
from vae_zoo.functional import bits_per_dim
from vae_zoo.importance import check
from vae_zoo.models.steps import seed_of, unpack
from vae_zoo.seeding import forked, mix


class Evidence(Callback):
    """Logs the importance-weighted evidence of the test split, how far it can be trusted, and the active units.

    ``test/log_evidence`` and ``test/bits_per_dim`` are means over the split. ``test/log_evidence_se`` is the standard
    error of that mean from importance sampling alone, which more samples lower; ``test/log_evidence_se_data`` is the
    one from the choice of examples, which more examples lower: it is what a comparison across data sets needs.
    ``test/ess`` is the mean effective sample size, and ``test/evidence_images_per_second`` how many examples all
    processes together get done in a second of wall time. A model without a bound, or with an energy
    in place of a likelihood, has no evidence; only its ``test/active_units`` are logged. One with several layers of
    latents also has ``test/active_units_1`` and so on, the lowest first.

    The networks run in the precision of the Trainer, as they do in a test step; densities are in float32 or better.

    Args:
        num_samples: Importance samples of each example.
        chunk: Samples of each example decoded at once; as many as fit into memory if not given.
        memory: MiB that all that is decoded at once may take; 32 on a CPU, 1024 elsewhere if not given.

    Raises:
        ValueError: If num_samples or chunk is less than 1, or memory is not positive.
    """

    def __init__(self, *, num_samples: int = 500, chunk: int | None = None, memory: float | None = None) -> None:
        check(num_samples, chunk, memory)
        self.num_samples, self.chunk, self.memory = num_samples, chunk, memory
        self._units, self._estimates = LayerUnits(), CatMetric(nan_strategy="disable")
        self._seconds, self._images = 0.0, 0

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
        if isinstance(pl_module, ELBOMixin) and has_density(pl_module):
            seed = mix(seed_of(batch, batch_idx, rank=trainer.global_rank), 1)  # not the noise of the bound again
            start = _now(pl_module.device)
            with forked(seed, pl_module.device), trainer.precision_plugin.test_step_context():
                estimates = pl_module.evidence(x, c, self.num_samples, self.chunk, self.memory)
            self._seconds += _now(pl_module.device) - start
            self._images += len(x)
            self._estimates.to(pl_module.device).update(torch.stack(estimates, 1))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if isinstance(pl_module, ELBOMixin) and has_density(pl_module):
            value, error, ess = self._estimates.compute().unbind(1)
            means = {
                "log_evidence": value.mean(),
                "log_evidence_se": error.norm() / len(error),
                "log_evidence_se_data": (value.var(correction=0) / (len(value) - 1)).sqrt(),
                "ess": ess.mean(),
                "bits_per_dim": bits_per_dim(-value.mean(), math.prod(pl_module.shape)),  # type: ignore[arg-type]
            }
            speed = torch.tensor(self._images / max(self._seconds, 1e-9), device=pl_module.device)
            means["evidence_images_per_second"] = trainer.strategy.reduce(speed, reduce_op="sum")
            for name, figure in means.items():
                pl_module.log(f"test/{name}", figure.float())
        for name, count in units.curves(self._units.compute()).items():
            pl_module.log(f"test/{name}", count)
        self._estimates.reset()
        self._seconds, self._images = 0.0, 0


def _now(device: torch.device) -> float:
    """Seconds on a clock, once what is queued on the device is done."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
    return time.perf_counter()
