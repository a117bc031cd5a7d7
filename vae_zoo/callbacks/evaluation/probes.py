"""Classification from latents, and anomaly detection from scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from vae_zoo.callbacks.evaluation.passes import TestMetrics, batches, check_classes, data_of
from vae_zoo.data import DataModule
from vae_zoo.elbo import ELBOMixin, has_density
from vae_zoo.evaluation.scores import scores
from vae_zoo.metrics import AnomalyAUROC, KNNProbe, LinearProbe
from vae_zoo.system.seeding import mix


class Probes(TestMetrics):
    """Logs the accuracy on test latents of logistic regression and of nearest neighbours, fitted to training latents.

    The latents of a conditional model depend on the label, and may encode it.

    Args:
        num_train: Largest number of training examples to use.
        neighbours: Training latents that vote on a test latent.
        seed: Seed of the choice of training examples.

    Raises:
        ValueError: If num_train or neighbours is less than 1; at the start of the test, if the data have no labels.
    """

    def __init__(self, *, num_train: int = 10_000, neighbours: int = 5, seed: int = 0) -> None:
        if num_train < 1:
            raise ValueError(f"num_train must be at least 1, got {num_train}.")
        self.num_train, self.seed = num_train, seed
        self._metrics = {"linear_probe": LinearProbe(), "knn_probe": KNNProbe(neighbours=neighbours)}
        self.units = {
            "linear_probe": "accuracy",
            "knn_probe": f"accuracy, {neighbours} neighbours",
        }

    def start(self, trainer: Trainer, model: Any) -> None:
        check_classes(data_of(trainer, "Probes"), "Probes")
        self.reset(model)

    def add(self, model: Any, batch: Any) -> None:
        self._add(model, batch.x, batch.y, train=False)

    def metrics(self, trainer: Trainer, model: Any) -> dict[str, Tensor]:
        for batch in batches(data_of(trainer, "Probes"), "train", model, seed=self.seed, num=self.num_train):
            self._add(model, batch.x, batch.y, train=True)  # type: ignore[arg-type]  # start has seen labels
        return {name: metric.compute() for name, metric in self._metrics.items()}

    def _add(self, model: Any, x: Tensor, y: Tensor, *, train: bool) -> None:
        z, known = model.embed(x, y), y >= 0
        z, y = z[known], y[known]
        for metric in self._metrics.values():
            metric.update(z, y, train=train)
            metric.update(z[:0], y[:0], train=not train)  # a process may have none of one kind


class Anomaly(TestMetrics):
    """Logs how well the model's scores distinguish anomalies from normal test examples.

    Scores are the negative bound of one sample, the negative log evidence (if the likelihood is a density) and the
    negative log p(x|z) at the posterior's mean; models without a bound have only the last.
    Anomalies are the test examples of classes other than the normal ones, or the test split of other data.

    Args:
        normal_classes: Labels of normal test examples.
        data: Data module whose test examples are the anomalies; all test examples of the run are then normal.
        num_samples: Importance samples of the log evidence.
        seed: Seed of the samples for other data.

    Raises:
        ValueError: If not exactly one of normal_classes and data is given, or num_samples is less than 1; at the start
            of the test, if normal_classes is given for data without classes.
    """

    units = {f"anomaly_auroc[{name}]": "0 to 1" for name in ("elbo", "log_evidence", "reconstruction")}

    def __init__(
        self,
        *,
        normal_classes: Sequence[int] | None = None,
        data: DataModule | None = None,
        num_samples: int = 16,
        seed: int = 0,
    ) -> None:
        if bool(normal_classes) == (data is not None):
            raise ValueError("Anomaly needs either normal_classes, a list of labels, or data, a data module.")
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, got {num_samples}.")
        self.normal_classes, self.data = list(normal_classes or ()), data
        self.num_samples, self.seed = num_samples, seed

    def start(self, trainer: Trainer, model: Any) -> None:
        own = data_of(trainer, "Anomaly")
        if self.data is None:
            check_classes(own, "Anomaly", ["test"])
        if self.data is not None and tuple(self.data.shape) != tuple(own.shape):
            raise ValueError(f"anomalies must have the shape {tuple(own.shape)} of the data, got {self.data.shape}.")
        names = ["elbo"] if isinstance(model, ELBOMixin) else []
        names += ["log_evidence"] if names and has_density(model) else []
        self._metrics = {name: AnomalyAUROC().to(model.device) for name in (*names, "reconstruction")}

    def add(self, model: Any, batch: Any) -> None:
        x, y = model.unpack(batch)
        if self.data is None:
            x, y = x[y >= 0], y[y >= 0]  # an unknown class is neither
        normal = torch.tensor(self.normal_classes, device=x.device)
        anomalous = x.new_zeros(len(x), dtype=torch.bool) if y is None or self.data else ~torch.isin(y, normal)
        self._add(model, x, y, anomalous, batch.key)

    def metrics(self, trainer: Trainer, model: Any) -> dict[str, Tensor]:  # noqa: ARG002
        if self.data is not None:
            for batch in batches(self.data, "test", model, seed=self.seed):
                self._add(model, batch.x, batch.y, batch.x.new_ones(len(batch.x), dtype=torch.bool), batch.key)
        return {f"anomaly_auroc[{name}]": metric.compute() for name, metric in self._metrics.items()}

    def _add(self, model: Any, x: Tensor, c: Tensor | None, anomalous: Tensor, seed: int) -> None:
        num = self.num_samples if "log_evidence" in self._metrics else 0
        found = scores(model, x, c, seed=mix(seed, 2), num_samples=num)
        found["reconstruction"] = found["log_px"]
        for name, metric in self._metrics.items():
            metric.update(-found[name], anomalous)
