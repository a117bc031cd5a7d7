"""Whether a classifier can tell synthetic rows from real ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

MOST = 5000
"""Largest number of rows of each table that a classifier is fitted to."""
AUROC = 0.7
"""Areas below this are no finding, however many rows show them."""


class Auroc(NamedTuple):
    """Area under the receiver operating characteristic.

    Args:
        value: The area: probability that a random positive scores above a random negative.
        error: Its standard error.
    """

    value: float
    error: float


def auroc(positive: np.ndarray, negative: np.ndarray) -> Auroc:
    """The area and its standard error, without assumptions on the distributions of the scores.

    References:
        | Comparing the Areas under Correlated Receiver Operating Characteristic Curves (DeLong et al., 1988)
        | https://doi.org/10.2307/2531595

    Args:
        positive: Scores of positives, (N,).
        negative: Scores of negatives, (M,).
    """
    from scipy.stats import rankdata

    n, m = len(positive), len(negative)
    together = rankdata(np.concatenate([positive, negative]))
    above = (together[:n] - rankdata(positive)) / m
    below = 1 - (together[n:] - rankdata(negative)) / n
    variance = above.var(ddof=1) / n + below.var(ddof=1) / m if min(n, m) > 1 else math.inf
    return Auroc(float(above.mean()), math.sqrt(variance))


def two_sample(
    synthetic: np.ndarray,
    real: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    classifier: Callable[[], Any] | None = None,
) -> Auroc:
    r"""Cross-validated area of a classifier of synthetic against real rows: ½ if it cannot tell them apart.

    .. math:: \bar A = \frac{1}{F} \sum_f A_f, \quad s^2 = \frac{1}{F^2} \sum_f s_f^2

    The larger table is reduced to the size of the smaller one, and complete synthetic rows are seen with the missing
    cells of random real rows. The standard error is that of the rows that are
    scored, with the classifiers given. Below ½ is chance.

    References:
        | Revisiting Classifier Two-Sample Tests (Lopez-Paz and Oquab, 2017)
        | https://arxiv.org/abs/1610.06545

    Args:
        synthetic: Synthetic rows, (N, D), in which NaN is missing.
        real: Real rows that the generator has not seen, (M, D).
        folds: Number of folds F.
        seed: Seed of the division into folds, of the choice of rows and of the forest.
        classifier: Makes a classifier of scikit-learn that takes missing values; by default a random forest.
    """
    from sklearn.model_selection import StratifiedKFold

    rng = np.random.default_rng(seed)
    size = min(len(synthetic), len(real), MOST)
    x = np.concatenate([some(rows, size, rng) for rows in (with_gaps(synthetic, real, rng), real)])
    y = np.repeat([1, 0], size)
    areas = []
    for fitted, scored in StratifiedKFold(folds, shuffle=True, random_state=seed).split(x, y):
        model = classifier() if classifier else forest(seed)
        scores = model.fit(x[fitted], y[fitted]).predict_proba(x[scored])[:, 1]
        areas.append(auroc(scores[y[scored] == 1], scores[y[scored] == 0]))
    error = math.sqrt(sum(area.error**2 for area in areas)) / folds
    return Auroc(float(np.mean([area.value for area in areas])), error)


def forest(seed: int, *, numbers: bool = False) -> Any:
    """A random forest of categories or numbers, which needs no scaling and takes missing values."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    kind = RandomForestRegressor if numbers else RandomForestClassifier
    return kind(100, min_samples_leaf=3, max_features="sqrt", random_state=seed, n_jobs=1)


def with_gaps(synthetic: np.ndarray, real: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Complete synthetic rows with the missing cells of random real rows, so that not only these tell them apart.

    Rows that have missing cells of their own are not changed.
    """
    gaps = np.isnan(real)
    if not gaps.any() or np.isnan(synthetic).any():
        return synthetic
    return np.where(gaps[rng.integers(0, len(real), len(synthetic))], np.nan, synthetic)


def some(rows: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """At most so many random rows."""
    return rows if len(rows) <= size else rows[rng.choice(len(rows), size, replace=False)]
