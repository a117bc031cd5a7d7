"""Measure how well clusters of latents agree with classes that nobody told the models.

python -m benchmarks.clusters     # ten minutes on one core; writes results/clusters.json

VaDE with the networks and epochs of vade_digits.yaml; a VAE and an autoencoder with the same, to whose latents
the callback Clusters fits a mixture of normal distributions. Three seeds.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from functools import partial
from typing import Any

import torch
from lightning.pytorch import seed_everything

from benchmarks.common import RESULTS, commit, hardware, versions
from vae_zoo.callbacks import Clusters
from vae_zoo.data import Digits
from vae_zoo.distributions import FixedNormal
from vae_zoo.models import AE, MLPVAE, Autoencoder, VaDE
from vae_zoo.nn import Dense
from vae_zoo.testing.subject import quiet_trainer

SEEDS, EPOCHS, LATENT_DIM = (0, 1, 2), 100, 5


def agreement(cls: type[Autoencoder], seed: int) -> dict[str, float]:
    """Metrics of the clusters of the test split, after a fit."""
    seed_everything(seed, verbose=False)
    data, network = Digits(), partial(Dense, hidden=[256, 256])
    likelihood: Any = partial(FixedNormal, scale=0.2)
    model = cls(shape=data.shape, latent_dim=LATENT_DIM, encoder=network, decoder=network, likelihood=likelihood)
    with tempfile.TemporaryDirectory() as folder:
        trainer = quiet_trainer(folder, max_epochs=EPOCHS, limit_val_batches=0, log_every_n_steps=50)
        trainer.fit(model, data)
        (found,) = quiet_trainer(folder, callbacks=[Clusters(seed=seed)]).test(model, data, verbose=False)
    return {name.split("/cluster_")[1]: value for name, value in found.items() if "/cluster_" in name}


def main() -> None:
    torch.set_num_threads(1)
    result: dict[str, Any] = {"hardware": hardware(), "versions": versions("torch", "lightning"), "commit": commit()}
    result |= {"data": "Digits", "seeds": len(SEEDS), "epochs": EPOCHS, "latent_dim": LATENT_DIM, "models": {}}
    runs = {cls.__name__: [agreement(cls, seed) for seed in SEEDS] for cls in (AE, MLPVAE, VaDE)}
    for name, found in runs.items():
        metrics = ("accuracy", "nmi", "ari")
        values = {metric: [run[metric] for run in found] for metric in metrics}
        result["models"][name] = {
            metric: {"mean": round(statistics.mean(each), 3), "std": round(statistics.stdev(each), 3)}
            for metric, each in values.items()
        }
    (RESULTS / "clusters.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
