"""The evidence of a tested model by annealed importance sampling."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torchmetrics import CatMetric

from vae_zoo.elbo import ELBOMixin, Generative, has_density
from vae_zoo.evaluation import ais
from vae_zoo.system.seeding import forked, mix
from vae_zoo.training.steps import seed_of
from vae_zoo.training.trainers import log_same


class AIS(Callback):
    """Logs the evidence of the first test images by annealed importance sampling, independently of the encoder.

    ``test/ais_log_evidence`` is the mean over these images, ``test/ais_log_evidence_se`` its standard error from
    sampling, and ``test/ais_gain`` the difference to the importance-weighted evidence of the same images. A gain
    far above the error reveals mass that the posterior misses; a gain below 0 reveals chains that are too short.

    A deterministic encoder has no importance-weighted evidence, so no gain is logged. Models without a prior, or whose
    likelihood is no density, are skipped. With several test loaders, only the first is used.

    References:
        | On the Quantitative Analysis of Decoder-Based Generative Models (Wu et al., 2017)
        | https://arxiv.org/abs/1611.04273

    Args:
        num_images: Number of images.
        num_chains: Chains for each image.
        num_steps: Distributions between the prior and the posterior.
        num_leapfrog: Leapfrog steps of each transition. The decoder runs and is differentiated about
            num_images · num_chains · num_steps · num_leapfrog times.
        num_samples: Importance samples of the evidence that it is compared with.

    Raises:
        ValueError: If a number is less than 1.
    """

    def __init__(
        self,
        *,
        num_images: int = 100,
        num_chains: int = 16,
        num_steps: int = 500,
        num_leapfrog: int = 10,
        num_samples: int = 500,
    ) -> None:
        self.chains = {"num_chains": num_chains, "num_steps": num_steps, "num_leapfrog": num_leapfrog}
        for name, number in {"num_images": num_images, **self.chains, "num_samples": num_samples}.items():
            if number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}.")
        self.num_images, self.num_samples = num_images, num_samples
        self._left, self._estimates = 0, CatMetric(nan_strategy="disable")

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        self._left = -(-self.num_images // trainer.world_size)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if not _has_evidence(pl_module) or self._left < 1 or dataloader_idx:
            return
        x, c = (t if t is None else t[: self._left] for t in pl_module.unpack(batch))  # type: ignore[operator]
        self._left -= len(x)  # type: ignore[arg-type]
        seed = mix(seed_of(batch, batch_idx, rank=trainer.global_rank), 2)  # not the noise of the evidence again
        found = ais(pl_module, x, c, **self.chains, seed=seed)  # type: ignore[arg-type]
        importance = torch.full_like(found.value, torch.nan)
        if isinstance(pl_module, ELBOMixin):
            with forked(seed, pl_module.device):
                importance = pl_module.log_evidence(x, c, self.num_samples)  # type: ignore[arg-type]
        self._estimates.to(pl_module.device).update(torch.stack([found.value, found.error, importance], 1))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        if _has_evidence(pl_module):
            value, error, importance = self._estimates.compute().float().unbind(1)
            log_same(pl_module, "test/ais_log_evidence", value.mean())
            log_same(pl_module, "test/ais_log_evidence_se", error.norm() / len(error))
            if isinstance(pl_module, ELBOMixin):
                log_same(pl_module, "test/ais_gain", (value - importance).mean())
        self._estimates.reset()


def _has_evidence(model: LightningModule) -> bool:
    return isinstance(model, Generative) and has_density(model)
