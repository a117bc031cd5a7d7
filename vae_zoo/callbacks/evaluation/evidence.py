"""The importance-weighted evidence and the active units of a tested model."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn
from torchmetrics import CatMetric

from vae_zoo.callbacks.evaluation.units import LayerUnits
from vae_zoo.elbo import ELBOMixin, has_density
from vae_zoo.elbo.importance import HEAVY, check, tail_size
from vae_zoo.functional import bits_per_dim
from vae_zoo.system.seeding import forked, mix
from vae_zoo.training.steps import seed_of
from vae_zoo.training.trainers import is_last_batch, loader_suffix, log_same, num_batches

_MANY = 0.2
"""Fraction of heavy-tailed examples for a warning; fits to 70 weights find a twentieth even without heavy tails."""


class Evidence(Callback):
    """Logs the importance-weighted evidence of the test split with diagnostics, and the active units.

    ``test/log_evidence`` and ``test/bits_per_dim`` are means over the split. ``test/log_evidence_se`` is the standard
    error of that mean from importance sampling alone, which decreases with more samples; ``test/log_evidence_se_data``
    is that from the choice of examples, which decreases with more examples and is needed to compare across data sets.
    ``test/ess`` is the mean effective sample size; ``test/pareto_k`` is the mean shape of the tail of the weights, and
    ``test/pareto_k_high`` the fraction of examples where it exceeds 0.7, so that their error is meaningless; there is a
    warning if it is above a fifth. ``test/evidence_images_per_second`` is the number of examples per second of wall
    time, over all processes. A model without a bound, or with an energy
    in place of a likelihood, has no evidence; only its units are logged. ``test/active_units`` counts the latent
    dimensions whose posterior mean varies, ``test/informative_units`` those whose rate is above 0.1 nats, if the
    rate is a sum over dimensions. A model with several layers of latents also has ``test/active_units_1`` and so on,
    the lowest first.

    The networks run in the precision of the Trainer, as in a test step; densities are in float32 or better.

    Args:
        num_samples: Importance samples of each example.
        chunk: Samples of each example to decode at once; by default as many as fit into memory.
        memory: Budget in MiB for what is decoded at once; by default 32 on a CPU, 1024 elsewhere.

    Raises:
        ValueError: If num_samples or chunk is less than 1, or memory is not positive.
    """

    def __init__(self, *, num_samples: int = 500, chunk: int | None = None, memory: float | None = None) -> None:
        check(num_samples, chunk, memory)
        self.num_samples, self.chunk, self.memory = num_samples, chunk, memory
        self._seen: dict[int, _Seen] = {}

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._seen = {n: _Seen() for n in range(len(num_batches(trainer)))}

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        x, c = pl_module.unpack(batch)  # type: ignore[operator]
        seen = self._seen[dataloader_idx]
        seed = seed_of(batch, batch_idx, rank=trainer.global_rank)
        seen.units.update(pl_module, x, c, seed)
        if isinstance(pl_module, ELBOMixin) and has_density(pl_module):
            start = _now(pl_module.device)
            with forked(mix(seed, 1), pl_module.device), trainer.precision_plugin.test_step_context():
                estimates = pl_module.evidence(x, c, self.num_samples, self.chunk, self.memory)
            seen.seconds += _now(pl_module.device) - start
            seen.images += len(x)
            seen.estimates.to(pl_module.device).update(torch.stack(estimates, 1))
        if is_last_batch(trainer, batch_idx, dataloader_idx):
            self._log(trainer, pl_module, self._seen.pop(dataloader_idx))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for number, seen in self._seen.items():  # whose last batch nobody knew to be the last
            self._log(trainer, pl_module, seen, loader_suffix(trainer, number))

    def _log(self, trainer: Trainer, pl_module: LightningModule, seen: _Seen, suffix: str = "") -> None:
        if isinstance(pl_module, ELBOMixin) and has_density(pl_module):
            value, error, ess, shape = seen.estimates.compute().unbind(1)
            tail = tail_size(self.num_samples) > 0
            means = {
                "log_evidence": value.mean(),
                "log_evidence_se": error.norm() / len(error),
                "log_evidence_se_data": (value.var(correction=0) / (len(value) - 1)).sqrt(),
                "ess": ess.mean(),
                **({"pareto_k": shape.mean(), "pareto_k_high": (shape > HEAVY).float().mean()} if tail else {}),
                "bits_per_dim": bits_per_dim(-value.mean(), math.prod(pl_module.shape)),  # type: ignore[arg-type]
            }
            speed = torch.tensor(seen.images / max(seen.seconds, 1e-9), device=pl_module.device)
            means["evidence_images_per_second"] = trainer.strategy.reduce(speed, reduce_op="sum")
            if tail and means["pareto_k_high"] > _MANY:
                rank_zero_warn(
                    f"the importance weights of {means['pareto_k_high']:.0%} of the examples have tails so heavy "
                    f"(Pareto shape {means['pareto_k']:.2f} on average, above {HEAVY}) that log_evidence is too low by "
                    "more than log_evidence_se: take more samples, or compare with AIS."
                )
            for name, value in means.items():
                log_same(pl_module, f"test/{name}{suffix}", value.float(), batch_size=1, add_dataloader_idx=not suffix)
        for name, count in seen.units.compute().curves().items():
            log_same(pl_module, f"test/{name}{suffix}", count, batch_size=1, add_dataloader_idx=not suffix)


@dataclass
class _Seen:
    """Accumulated results of one loader."""

    units: LayerUnits = field(default_factory=LayerUnits)
    estimates: CatMetric = field(default_factory=lambda: CatMetric(nan_strategy="disable"))
    seconds: float = 0.0
    images: int = 0


def _now(device: torch.device) -> float:
    """Time in seconds, after everything queued on the device is done."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize(device)
    return time.perf_counter()
