"""Agreement of clusters with classes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat


class ClusterMetric(Metric, ABC):
    """Agreement of the clusters that examples are in with their classes.

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    clusters: list[Tensor]
    classes: list[Tensor]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for name in ("clusters", "classes"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, clusters: Tensor, classes: Tensor) -> None:
        """Add numbers of clusters and of classes, both (B,); examples of unknown class, -1, are left out."""
        known = classes >= 0
        self.clusters.append(clusters.detach()[known])
        self.classes.append(classes[known])

    def compute(self) -> Tensor:
        """The agreement, a scalar.

        Raises:
            ValueError: If there are no examples.
        """
        clusters, classes = dim_zero_cat(self.clusters), dim_zero_cat(self.classes)
        if not len(clusters):
            raise ValueError(f"{type(self).__name__} needs examples, got none.")
        return torch.tensor(self.score(clusters.cpu().numpy(), classes.cpu().numpy()), dtype=torch.float32)

    @abstractmethod
    def score(self, clusters: np.ndarray, classes: np.ndarray) -> float:
        """The agreement of clusters (N,) with classes (N,)."""


class ClusterAccuracy(ClusterMetric):
    r"""Share of examples whose class is that of their cluster, under the best assignment of clusters to classes.

    .. math:: \max_\pi \frac{1}{N} \sum_{n=1}^N [y_n = \pi(k_n)], \quad \pi \text{ one to one}

    From 0 to 1. Of more clusters than classes, those that are assigned to none count as wrong.

    References:
        | Unsupervised Deep Embedding for Clustering Analysis, section 4.2 (Xie et al., 2016)
        | https://arxiv.org/abs/1511.06335

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.

    Example:
        >>> accuracy = ClusterAccuracy()
        >>> accuracy.update(torch.tensor([1, 1, 0, 0]), torch.tensor([0, 0, 1, 0]))
        >>> accuracy.compute()
        tensor(0.7500)
    """

    def score(self, clusters: np.ndarray, classes: np.ndarray) -> float:
        from scipy.optimize import linear_sum_assignment

        num = max(clusters.max(), classes.max()) + 1
        table = np.zeros((num, num), dtype=int)
        np.add.at(table, (clusters, classes), 1)
        return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(classes))


class ClusterNMI(ClusterMetric):
    r"""Mutual information of clusters and classes over the mean of their entropies, from 0 to 1.

    .. math:: \frac{2 \, I(k; y)}{H(k) + H(y)}

    References:
        | Cluster Ensembles: A Knowledge Reuse Framework for Combining Multiple Partitions (Strehl and Ghosh, 2002)
        | https://www.jmlr.org/papers/v3/strehl02a.html

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    def score(self, clusters: np.ndarray, classes: np.ndarray) -> float:
        from sklearn.metrics import normalized_mutual_info_score

        return float(normalized_mutual_info_score(classes, clusters))


class ClusterARI(ClusterMetric):
    """Rand index, adjusted for chance: how often pairs of a class share a cluster, and pairs of two classes do not.

    1 for equal partitions, 0 in expectation for random ones.

    References:
        | Comparing Partitions (Hubert and Arabie, 1985)
        | https://doi.org/10.1007/BF01908075

    Args:
        kwargs: Arguments of :class:`torchmetrics.Metric`.
    """

    def score(self, clusters: np.ndarray, classes: np.ndarray) -> float:
        from sklearn.metrics import adjusted_rand_score

        return float(adjusted_rand_score(classes, clusters))
