"""Means and ratios with their errors, and tests of two samples."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vae_zoo.evaluation.quality.detection import auroc


class Estimate(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float

    def __str__(self) -> str:
        return f"{self.value:.3g} ± {self.error:.2g}"

    @property
    def low(self) -> float:
        """The value less two standard errors."""
        return self.value - 2 * self.error

    @property
    def high(self) -> float:
        """The value and two standard errors."""
        return self.value + 2 * self.error


def mean_of_rows(values: Tensor) -> Estimate:
    """Mean of independent values, (N,)."""
    values = values.double()
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(float(values.mean()), error)


def difference(a: Tensor, b: Tensor) -> Estimate:
    """Difference of the means of two independent samples, (N,) and (M,)."""
    first, second = mean_of_rows(a), mean_of_rows(b)
    return Estimate(first.value - second.value, math.hypot(first.error, second.error))


def ratio(a: Tensor, b: Tensor) -> Estimate:
    """Ratio of two means over the same examples, (N,) each, with its error by the delta method."""
    a, b = a.double(), b.double()
    value = float(a.mean() / b.mean())
    return Estimate(value, float((a - value * b).std() / b.mean().abs()) / math.sqrt(len(a)))


def slope(values: Tensor) -> Estimate:
    """Slope of a line through equally spaced values, (N,), by least squares, per step."""
    values = values.double()
    at = torch.arange(len(values), dtype=torch.float64) - (len(values) - 1) / 2
    value = float((at * values).sum() / at.square().sum())
    rest = values - values.mean() - value * at
    error = math.sqrt(float(rest.square().sum()) / max(1, len(values) - 2) / float(at.square().sum()))
    return Estimate(value, error)


def mmd_test(x: Tensor, y: Tensor, *, num_permutations: int = 500, seed: int = 0) -> tuple[float, float]:
    r"""Squared maximum mean discrepancy of two samples, and its p-value by permutation.

    .. math::
        \widehat{\mathrm{MMD}}^2 = \frac{1}{n^2} \sum_{i, j} \big( k(x_i, x_j) + k(y_i, y_j) - 2 k(x_i, y_j) \big),
        \quad p = \frac{1 + \#\{b : \widehat{\mathrm{MMD}}^2_b \ge \widehat{\mathrm{MMD}}^2\}}{1 + B}

    The kernel is normal, its width the median distance. Labels are permuted B times, which makes the p-value exact.

    References:
        | A Kernel Two-Sample Test (Gretton et al., 2012)
        | https://jmlr.org/papers/v13/gretton12a.html

    Args:
        x: First sample, (N, D).
        y: Second sample, (M, D).
        num_permutations: Number B.
        seed: Seed of the permutations.
    """
    pooled = torch.cat([x, y]).double()
    squared = torch.cdist(pooled, pooled).square()
    width = squared[squared > 0].median() if bool((squared > 0).any()) else torch.ones((), dtype=torch.float64)
    kernel = torch.exp(-squared / width)
    weight = torch.cat([torch.full((len(x),), 1 / len(x)), torch.full((len(y),), -1 / len(y))]).double()
    generator = torch.Generator().manual_seed(seed)
    turns = torch.stack([torch.randperm(len(pooled), generator=generator) for _ in range(num_permutations)])
    all_weights = torch.cat([weight[None], weight[turns]])
    found = ((all_weights @ kernel) * all_weights).sum(1)
    return float(found[0]), float((1 + (found[1:] >= found[0] - 1e-12).sum()) / (1 + num_permutations))


_FEATURES = 24
"""Principal components that a classifier sees, and their squares: a few examples for each."""


def told_apart(x: Tensor, y: Tensor, *, seed: int = 0) -> Estimate:
    r"""How well a classifier tells two samples apart: its area under the ROC curve, on examples that it has not seen.

    .. math:: A = P(s(x) > s(y)), \quad
        \mathrm{Var} \, \hat A = \frac{A (1 - A) + (n - 1)(Q_1 - A^2) + (m - 1)(Q_2 - A^2)}{n m},
        \quad Q_1 = \frac{A}{2 - A}, \quad Q_2 = \frac{2 A^2}{1 + A}

    1/2 if nothing tells them apart, 1 if everything does. Logistic regression on the first principal components and
    their squares, in two halves, each scored by the classifier of the other. The two areas are hardly independent, so
    that the error is that of one half, n and m examples.

    References:
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz and Oquab, 2017)
        | https://arxiv.org/abs/1610.06545
        | The Meaning and Use of the Area under a Receiver Operating Characteristic Curve (Hanley and McNeil, 1982)
        | https://doi.org/10.1148/radiology.143.1.7063747

    Args:
        x: First sample, (N, ...).
        y: Second sample, (M, ...).
        seed: Seed of the halves.
    """
    from sklearn.linear_model import LogisticRegression

    rows = torch.cat([x.flatten(1), y.flatten(1)]).double()
    label = torch.cat([torch.ones(len(x)), torch.zeros(len(y))])
    features = _components(rows)
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    areas, half = [], [order[::2], order[1::2]]
    for train, held in (half, half[::-1]):
        if len(set(label[train].tolist())) < 2 or len(set(label[held].tolist())) < 2:
            return Estimate(0.5, 0.5)
        model: Any = LogisticRegression(C=0.1, max_iter=200).fit(features[train].numpy(), label[train].numpy())
        scores, positive = model.decision_function(features[held].numpy()), label[held].numpy() > 0
        areas.append(auroc(scores[positive], scores[~positive]).value)
    area = sum(areas) / 2
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    num, other = len(x) / 2, len(y) / 2  # what one half says of the other is nearly what that says of it
    variance = area * (1 - area) + (num - 1) * (first - area**2) + (other - 1) * (second - area**2)
    return Estimate(area, math.sqrt(max(variance, 0.0) / (num * other)))


def _components(rows: Tensor) -> Tensor:
    """Standardised principal components of rows (N, D) and their squares."""
    rows = rows.nan_to_num(0.0)
    rows = rows - rows.mean(0)
    spread = rows.std(0)
    rows = rows[:, spread > 0] / spread[spread > 0]
    if rows.shape[1] > _FEATURES:
        _, _, axes = torch.svd_lowrank(rows, q=_FEATURES)
        rows = rows @ axes
    both = torch.cat([rows, rows.square()], 1)
    return (both - both.mean(0)) / both.std(0).clamp(min=1e-12)
