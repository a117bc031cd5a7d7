"""Agreement of clusters of latents with the labels of the test split."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Trainer

from vae_zoo.callbacks.evaluation.passes import TestMetrics, check_classes, data_of
from vae_zoo.data import DataModule
from vae_zoo.distributions.estimation.mixtures import NormalMixture, fit_mixture
from vae_zoo.metrics import ClusterAccuracy, ClusterARI, ClusterNMI
from vae_zoo.system.seeding import mix

_CHUNK = 1000


class Clusters(TestMetrics):
    """Logs how well clusters agree with the classes of the test split, which they are found without.

    Of a model that has clusters, such as :class:`~vae_zoo.models.VaDE`, an example belongs to the most probable one.
    For other models a mixture of normal distributions with full covariances is fitted to the latents of training
    examples, which is the usual baseline.

    Args:
        num_clusters: Components of that mixture; by default as many as there are classes.
        num_train: Largest number of training examples to fit it to.
        seed: Seed of the choice of examples and of the mixture.

    Raises:
        ValueError: If num_clusters or num_train is less than 1; at the start of the test, if the data have no classes,
            there are fewer training examples than clusters, or latents are discrete.
    """

    units = {
        "cluster_accuracy": "0 to 1, under the best assignment",
        "cluster_nmi": "0 to 1",
        "cluster_ari": "0 for chance, up to 1",
    }

    def __init__(self, *, num_clusters: int | None = None, num_train: int = 10_000, seed: int = 0) -> None:
        for name, number in (("num_clusters", num_clusters), ("num_train", num_train)):
            if number is not None and number < 1:
                raise ValueError(f"{name} must be at least 1, got {number}.")
        self.num_clusters, self.num_train, self.seed = num_clusters, num_train, seed
        self._metrics = {
            "cluster_accuracy": ClusterAccuracy(),
            "cluster_nmi": ClusterNMI(),
            "cluster_ari": ClusterARI(),
        }
        self._mixture: NormalMixture | None = None

    def start(self, trainer: Trainer, model: Any) -> None:
        data = data_of(trainer, "Clusters")
        check_classes(data, "Clusters")
        self.reset(model)
        self._mixture = None
        if not getattr(model, "num_clusters", 0):
            if not model.continuous:
                raise ValueError(
                    f"Clusters: {type(model).__name__} has discrete latents, which are no points in a space."
                )
            self._mixture = self._fitted(data, model)

    def add(self, model: Any, batch: Any) -> None:
        x, y = batch.x, batch.y
        if self._mixture is None:
            found = model.clusters(x, y).argmax(1)
        else:
            z = model.embed(x, y).flatten(1).cpu().double()
            found = self._mixture.log_joint(z).argmax(1).to(y.device)
        for metric in self._metrics.values():
            metric.update(found[y >= 0], y[y >= 0])

    def _fitted(self, data: DataModule, model: Any) -> NormalMixture:
        """A mixture fitted to latents of the same training examples in every process."""
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randperm(len(data.load("train").x), generator=generator)[: self.num_train]
        parts = enumerate(rows.split(_CHUNK))
        prepared = (data.prepared("train", part, mix(self.seed, n), model.device) for n, part in parts)
        z = torch.cat([model.embed(batch.x, batch.y).flatten(1).cpu().double() for batch in prepared])
        num = self.num_clusters or int(data.num_classes or 1)
        if len(z) < num:
            raise ValueError(f"{num} clusters need as many training examples, got {len(z)}.")
        return fit_mixture(z, num, generator=generator)[0]
