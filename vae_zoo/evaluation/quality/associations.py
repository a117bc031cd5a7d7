"""Dependence of two columns, in synthetic and in real rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from vae_zoo.evaluation.quality.marginals import LEVEL

DIFFERENCE = 0.15
"""Differences below this are no finding, however many rows show them."""
_LARGEST = 0.999
_FEWEST = 10


class Association(NamedTuple):
    """How strongly two columns depend on each other.

    Args:
        first: Name of a column.
        second: Name of another column.
        measure: ``correlation`` of the ranks of numbers, from −1 to 1; ``ratio``, the correlation ratio of the ranks of
            a number in the groups of a category, or ``cramer``, Cramér's V of two categories, from 0 to 1.
        synthetic: Its value in the synthetic rows.
        real: Its value in the real rows.
        reference: Its value in the training rows; None without training rows.
        differs: Whether the values differ by more than by chance, with all pairs together, and by more than 0.15.
    """

    first: str
    second: str
    measure: str
    synthetic: float
    real: float
    reference: float | None
    differs: bool


def associations(
    synthetic: np.ndarray,
    real: np.ndarray,
    columns: Sequence[Mapping[str, Any]],
    *,
    train: np.ndarray | None = None,
) -> list[Association]:
    r"""Associations of all pairs of columns, from the rows in which both are known.

    Dates and counts are numbers here, and so are booleans and categories of two values, whose sign counts. Ratio and
    Cramér's V are corrected for their bias, so that samples of different sizes compare. Two values differ if their
    Fisher transforms do, which for Cramér's V and the ratio is an approximation:

    .. math:: |\operatorname{artanh} r_a - \operatorname{artanh} r_b| > z \sqrt{1 / (N - 3) + 1 / (M - 3)}

    References:
        | A Bias-Correction for Cramér's V and Tschuprow's T (Bergsma, 2013)
        | https://doi.org/10.1016/j.jkss.2012.10.002

    Args:
        synthetic: Synthetic rows, (N, D), in which NaN is missing; categories are numbers from 0.
        real: Real rows, (M, D).
        columns: Name and type of each column; of a category also ``categories``.
        train: Rows that the generator was fitted to, (L, D).

    Returns:
        The pairs, the largest difference first.
    """
    nominal = [c["type"] == "category" and len(c["categories"]) > 2 for c in columns]
    tables = [_ranked(x, nominal) for x in (synthetic, real, *([] if train is None else [train]))]
    pairs = list(combinations(range(len(columns)), 2))
    limit = NormalDist().inv_cdf(1 - LEVEL / (2 * max(1, len(pairs))))
    found = []
    for i, j in pairs:
        measure = ("correlation", "ratio", "cramer")[nominal[i] + nominal[j]]
        number, group = (j, i) if nominal[i] else (i, j)
        values, sizes = [], []
        for x in tables:
            known = ~np.isnan(x[:, number]) & ~np.isnan(x[:, group])
            values.append(_MEASURES[measure](x[known, number], x[known, group]))
            sizes.append(int(known.sum()))
        a, b = values[:2]
        gap = abs(_fisher(a) - _fisher(b))
        enough = min(sizes[:2]) >= _FEWEST
        beyond = enough and gap > limit * math.sqrt(1 / (sizes[0] - 3) + 1 / (sizes[1] - 3))
        names = (str(columns[i]["name"]), str(columns[j]["name"]))
        reference = values[2] if train is not None else None
        found.append(Association(*names, measure, a, b, reference, bool(beyond and abs(a - b) > DIFFERENCE)))
    return sorted(found, key=lambda pair: -abs(pair.synthetic - pair.real))


def _fisher(value: float) -> float:
    return math.atanh(max(-_LARGEST, min(_LARGEST, value)))


def _ranked(x: np.ndarray, nominal: Sequence[bool]) -> np.ndarray:
    """Rows with numbers replaced by their ranks."""
    from scipy.stats import rankdata

    ranked = x.astype(float)
    for place, is_nominal in enumerate(nominal):
        if not is_nominal:
            known = ~np.isnan(x[:, place])
            ranked[known, place] = rankdata(x[known, place])
    return ranked


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation, 0 if a column is constant."""
    if len(a) < 2:
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale > 0 else 0.0


def correlation_ratio(number: np.ndarray, group: np.ndarray) -> float:
    r"""Square root of the share of the variance that lies between groups, corrected for their number.

    .. math:: \eta^2 = \frac{\sum_k n_k (\bar x_k - \bar x)^2}{\sum_n (x_n - \bar x)^2}, \quad
        \hat \eta^2 = \max\Big(0, 1 - (1 - \eta^2) \frac{N - 1}{N - K}\Big)
    """
    _, codes = np.unique(group, return_inverse=True)
    sizes = np.bincount(codes)
    if len(number) <= len(sizes) or len(sizes) < 2:
        return 0.0
    centred = number - number.mean()
    total = float(centred @ centred)
    if total <= 0:
        return 0.0
    between = float((np.bincount(codes, weights=centred) ** 2 / sizes).sum())
    return math.sqrt(max(0.0, 1 - (1 - between / total) * (len(number) - 1) / (len(number) - len(sizes))))


def cramer(a: np.ndarray, b: np.ndarray) -> float:
    """Cramér's V with the bias correction of Bergsma."""
    (_, rows), (_, lines) = (np.unique(x, return_inverse=True) for x in (a, b))
    num = len(a)
    if num < 2:
        return 0.0
    r, k = rows.max() + 1, lines.max() + 1
    observed = np.bincount(rows * k + lines, minlength=r * k).reshape(r, k)
    expected = observed.sum(1, keepdims=True) * observed.sum(0, keepdims=True) / num
    phi = float(((observed - expected) ** 2 / expected).sum()) / num
    excess = max(0.0, phi - (r - 1) * (k - 1) / (num - 1))
    least = min(r - (r - 1) ** 2 / (num - 1), k - (k - 1) ** 2 / (num - 1)) - 1
    return math.sqrt(min(1.0, excess / least)) if least > 0 else 0.0


_MEASURES = {"correlation": correlation, "ratio": correlation_ratio, "cramer": cramer}
