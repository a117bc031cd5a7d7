"""Decomposition of the rate of a tested model."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_warn

from vae_zoo.distributions.normal import is_normal
from vae_zoo.elbo import ELBOMixin
from vae_zoo.metrics import AggregatePosterior
from vae_zoo.training.trainers import log_same


class RateDecomposition(Callback):
    """Logs ``test/mutual_information``, ``test/total_correlation`` and ``test/dimension_wise_kl`` of the whole split.

    The three add up to the rate ``test/kl``, except for sampling error. The last one is left out if the prior is not a
    normal distribution with independent dimensions; models whose posterior is not one are skipped with a warning.
    With several test loaders, only the first is used.

    Args:
        num_samples: Samples of each posterior. Time is proportional to it and to the square of the size of the split.

    Raises:
        ValueError: If num_samples is less than 1.
    """

    units = dict.fromkeys(("mutual_information", "total_correlation", "dimension_wise_kl"), "nats")

    def __init__(self, *, num_samples: int = 5) -> None:
        self.num_samples = num_samples
        self._posterior = AggregatePosterior(num_samples=num_samples)

    def on_test_batch_end(
        self,
        trainer: Trainer,  # noqa: ARG002
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if dataloader_idx:
            return
        x, c = pl_module.unpack(batch)  # type: ignore[operator]
        q = pl_module.encode(x, c) if isinstance(pl_module, ELBOMixin) else None
        if q is None or not is_normal(q):
            if batch_idx == 0:
                rank_zero_warn(
                    f"the rate of {type(pl_module).__name__} is not decomposed: its posterior is not normal."
                )
            return
        if batch_idx == 0:
            p = pl_module.prior(c)  # type: ignore[operator]
            known = is_normal(p) and not p.batch_shape
            self._posterior.log_prior = p.base_dist.log_prob if known else None
        self._posterior.to(pl_module.device).update(q.base_dist.loc, q.base_dist.log_scale)  # type: ignore[attr-defined]

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if self._posterior.update_called:
            for name, value in self._posterior.compute().items():
                log_same(pl_module, f"test/{name}", value.float())
        self._posterior.reset()
