"""Distances of the columns of synthetic rows from those of real rows, one column at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.01
"""Probability that any of the columns, or of the pairs, of two samples of one table exceeds its limit."""
DISTANCE = 0.1
"""Distances below this are no finding, however many rows show them."""
MISSING = 0.05
"""The same for differences of the rates of missing cells."""


class Marginal(NamedTuple):
    """One column of the synthetic rows beside that of the real rows.

    Args:
        column: Its name.
        kind: Its type.
        distance: Largest difference of the distribution functions (Kolmogorov–Smirnov) of numbers, dates and counts,
            total variation of categories and booleans, of known cells; from 0 to 1.
        limit: What two samples of one distribution and of these sizes stay below, with all columns together.
        reference: Distance of the training rows from the real rows; None without training rows.
        missing: Rate of missing cells in the synthetic rows.
        missing_real: The same in the real rows.
        differs: Whether the distance is above its limit and above 0.1.
        missing_differs: Whether the rates of missing cells differ by more than by chance and by more than 0.05.
    """

    column: str
    kind: str
    distance: float
    limit: float
    reference: float | None
    missing: float
    missing_real: float
    differs: bool
    missing_differs: bool


def marginals(
    synthetic: np.ndarray,
    real: np.ndarray,
    columns: Sequence[Mapping[str, Any]],
    *,
    train: np.ndarray | None = None,
) -> list[Marginal]:
    """Distances of all columns.

    Args:
        synthetic: Synthetic rows, (N, D), in which NaN is missing; categories are numbers from 0.
        real: Real rows, (M, D).
        columns: Name and type of each column.
        train: Rows that the generator was fitted to, (L, D).
    """
    level, found = LEVEL / len(columns), []
    for place, column in enumerate(columns):
        a, b = synthetic[:, place], real[:, place]
        known_a, known_b = a[~np.isnan(a)], b[~np.isnan(b)]
        measure = total_variation if column["type"] in ("category", "boolean") else kolmogorov_smirnov
        distance, limit = measure(known_a, known_b), 1.0
        if len(known_a) and len(known_b):
            ordered = measure is kolmogorov_smirnov
            limit = _ks_limit(len(known_a), len(known_b), level) if ordered else _tv_limit(known_a, known_b, level)
        reference = None
        if train is not None:
            seen = train[:, place]
            reference = measure(seen[~np.isnan(seen)], known_b)
        gone, gone_real = float(np.isnan(a).mean()), float(np.isnan(b).mean())
        differs = distance > max(limit, DISTANCE) or (distance == 1.0 and len(known_a) + len(known_b) > 0)
        lost = abs(gone - gone_real) > max(_rate_limit(np.isnan(a), np.isnan(b), level), MISSING)
        name, kind = str(column["name"]), str(column["type"])
        found.append(Marginal(name, kind, distance, limit, reference, gone, gone_real, bool(differs), bool(lost)))
    return found


def kolmogorov_smirnov(a: np.ndarray, b: np.ndarray) -> float:
    r"""Largest difference of two empirical distribution functions.

    .. math:: \sup_x |F_a(x) - F_b(x)|

    Args:
        a: Values of the first sample, (N,).
        b: Values of the second sample, (M,).

    Returns:
        From 0 to 1; 1 if exactly one sample is empty, 0 if both are.
    """
    if not len(a) or not len(b):
        return float(len(a) != len(b))
    every = np.concatenate([a, b])
    below = [np.searchsorted(np.sort(x), every, side="right") / len(x) for x in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


def total_variation(a: np.ndarray, b: np.ndarray) -> float:
    r"""Half the sum of the differences of the shares of all categories.

    .. math:: \tfrac{1}{2} \sum_k |p_a(k) - p_b(k)|

    Args:
        a: Categories of the first sample, (N,).
        b: Categories of the second sample, (M,).

    Returns:
        From 0 to 1; 1 if exactly one sample is empty, 0 if both are.
    """
    if not len(a) or not len(b):
        return float(len(a) != len(b))
    first, second = _tallies(a, b)
    return float(np.abs(first / first.sum() - second / second.sum()).sum() / 2)


def _tallies(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    levels, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
    return (
        np.bincount(codes[: len(a)], minlength=len(levels)),
        np.bincount(codes[len(a) :], minlength=len(levels)),
    )


def _ks_limit(n: int, m: int, level: float) -> float:
    return math.sqrt(-math.log(level / 2) / 2 * (1 / n + 1 / m))


def _tv_limit(a: np.ndarray, b: np.ndarray, level: float) -> float:
    """The expectation of the distance and a deviation from it.

    The distance is the largest difference of the shares of any set of categories, each of which has at most the
    variance of a set of half of the rows; the supremum of normal variables deviates no further than any of them.
    """
    first, second = _tallies(a, b)
    share, inverse = (first + second) / (len(a) + len(b)), 1 / len(a) + 1 / len(b)
    expected = float(np.sqrt(2 / np.pi * share * (1 - share) * inverse).sum() / 2)
    return expected + NormalDist().inv_cdf(1 - level) * math.sqrt(inverse) / 2


def _rate_limit(a: np.ndarray, b: np.ndarray, level: float) -> float:
    share = np.concatenate([a, b]).mean()
    return NormalDist().inv_cdf(1 - level / 2) * math.sqrt(share * (1 - share) * (1 / len(a) + 1 / len(b)))
