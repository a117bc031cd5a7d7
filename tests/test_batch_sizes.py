"""Metrics of a test describe the split: they do not depend on the batch size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import build, quiet_trainer, small, tiny_data
from short import few
from torch import Tensor

from vae_zoo.callbacks import Anomaly, Evidence, RateDecomposition, Reconstructions
from vae_zoo.distributions import Normal
from vae_zoo.models import IWAE, VQVAE, Autoencoder, FactorVAE

WITHIN_BATCHES = {FactorVAE: {"test/discriminator_loss", "test/loss"}}
"""What permutes latents within a batch, at random."""


def metrics(folder: Path, cls: type[Autoencoder], size: int) -> dict[str, float]:
    torch.manual_seed(0)
    model, data = build(cls, encoder=small, decoder=small), tiny_data(eval_batch_size=size, num_examples=200)
    model.initialise(data.examples("train"))
    callbacks: list[Any] = [Reconstructions()]
    if cls is not VQVAE:
        callbacks += [Evidence(num_samples=8, chunk=8), RateDecomposition(), Anomaly(normal_classes=[0], num_samples=8)]
    (found,) = quiet_trainer(folder, callbacks=callbacks).test(model, data, verbose=False)
    varying = {"test/evidence_images_per_second", "test/anomaly_auroc[log_evidence]"} | WITHIN_BATCHES.get(cls, set())
    return {name: value for name, value in found.items() if name not in varying}


@pytest.mark.parametrize("cls", few([FactorVAE, IWAE, VQVAE], 1))
def test_one_number(cls: type[Autoencoder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def even(self: Normal, sample_shape: Any = ()) -> Tensor:
        """Draws that depend on their number alone, where noise would on the batch."""
        num = torch.Size(sample_shape).numel()
        steps = torch.linspace(-1, 1, num).view(*sample_shape, *[1] * self.loc.ndim)
        return self.loc + self.scale * steps

    monkeypatch.setattr(Normal, "rsample", even)
    rows = [metrics(tmp_path, cls, size) for size in (4, 20, 200)]
    assert len(rows[0]) > (5 if cls is VQVAE else 12)
    for row in rows[1:]:
        assert row == pytest.approx(rows[0], rel=1e-4, abs=1e-5)
