"""Simple classifiers of latents, and anomaly detection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from vae_zoo.metrics.checks import check_counts
from vae_zoo.metrics.information import canonical_order


class Probe(Metric, ABC):
    """Accuracy on test latents of a classifier of the training latents.

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    z: list[Tensor]
    y: list[Tensor]
    is_train: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("z", "y", "is_train"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, z: Tensor, y: Tensor, train: bool) -> None:
        """Add latents (B, \\*latent) and labels (B,), to train on or to test on."""
        self.z.append(z.detach().flatten(1).float())
        self.y.append(y)
        self.is_train.append(torch.full_like(y, train, dtype=torch.bool))

    @abstractmethod
    def make(self) -> Any:
        """The classifier, with scikit-learn's interface."""

    def compute(self) -> Tensor:
        """Accuracy on the test latents."""
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        z, y, train = (dim_zero_cat(x) for x in (self.z, self.y, self.is_train))
        order = canonical_order(y, z)
        z, y, train = (x[order].cpu() for x in (z, y, train))
        if not 0 < int(train.sum()) < len(train):
            raise ValueError(f"{type(self).__name__} needs latents to train on and to test on, got one of the two.")
        model = make_pipeline(StandardScaler(), self.make()).fit(z[train].numpy(), y[train].numpy())
        return torch.tensor(model.score(z[~train].numpy(), y[~train].numpy()), dtype=torch.float32)


class LinearProbe(Probe):
    """Accuracy of logistic regression on latents, standardised over the training set.

    Args:
        strength: Inverse C of the weight of the squared norm.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If strength is not positive.
    """

    def __init__(self, *, strength: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not strength > 0:
            raise ValueError(f"strength must be positive, got {strength}.")
        self.strength = strength

    def make(self) -> Any:
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=self.strength, max_iter=1000)


class KNNProbe(Probe):
    """Accuracy of the vote of the nearest training latents, standardised over the training set.

    Args:
        neighbours: Number of latents that vote, at most the number of training latents.
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: If neighbours is less than 1.
    """

    def __init__(self, *, neighbours: int = 5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_counts(neighbours=neighbours)
        self.neighbours = neighbours

    def make(self) -> Any:
        from sklearn.neighbors import KNeighborsClassifier

        return KNeighborsClassifier(min(self.neighbours, int(dim_zero_cat(self.is_train).sum())))


class AnomalyAUROC(Metric):
    """Area under the receiver operating characteristic: the probability that an anomaly has the higher score.

    From 0 to 1, and 1/2 for scores without information. Scores may have any range, like negative log-likelihoods:
    only their order matters.

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    scores: list[Tensor]
    anomalous: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("anomalous", default=[], dist_reduce_fx="cat")

    def update(self, scores: Tensor, anomalous: Tensor) -> None:
        """Add scores (B,), higher for more anomalous examples, and whether each example is an anomaly, (B,)."""
        self.scores.append(scores.detach())
        self.anomalous.append(anomalous.bool())

    def compute(self) -> Tensor:
        """The area, a scalar."""
        from torchmetrics.functional.classification import binary_auroc

        scores, anomalous = dim_zero_cat(self.scores), dim_zero_cat(self.anomalous)
        if anomalous.all() or not anomalous.any():
            raise ValueError("AnomalyAUROC needs normal and anomalous examples, got only one of the two.")
        # torchmetrics puts what is outside [0, 1] through a sigmoid, after which likelihoods are all alike: give ranks.
        rank = scores.unique(return_inverse=True)[1].double()
        return binary_auroc(rank / rank.max().clamp(min=1), anomalous.long()).float()
