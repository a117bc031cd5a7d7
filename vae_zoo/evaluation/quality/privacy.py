"""Whether synthetic rows are closer to the training rows than new real rows are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from vae_zoo.evaluation.quality.detection import some, with_gaps
from vae_zoo.evaluation.quality.marginals import LEVEL

NEARER = 0.55
"""Shares of rows nearer to the training rows below this are no finding, however many rows show them."""
_MOST = 2000


class Privacy(NamedTuple):
    """Distances to the closest training row, and copies.

    Args:
        copies: Share of synthetic rows that equal a training row in every cell.
        copies_real: The same of real rows that the generator has not seen.
        distance: Median distance of a synthetic row to its closest training row.
        distance_real: The same of the real rows.
        nearer: Share of synthetic rows whose closest real row is a training row, for equally many training rows and
            unseen ones: ½ if nothing is memorised, 1 if everything is.
        nearer_error: Its standard error if nothing is memorised.
        copied: Whether there are more copies than by chance.
        memorised: Whether ``nearer`` is above 0.55 and above ½ by more than by chance.
    """

    copies: float
    copies_real: float
    distance: float
    distance_real: float
    nearer: float
    nearer_error: float
    copied: bool
    memorised: bool


def privacy(
    synthetic: np.ndarray,
    real: np.ndarray,
    train: np.ndarray,
    columns: Sequence[Mapping[str, Any]],
    *,
    seed: int = 0,
) -> Privacy:
    r"""Compare distances to the training rows.

    .. math:: d(a, b) = \frac{1}{D} \sum_j |F_j(a_j) - F_j(b_j)|

    F is the distribution function of a column of the training rows; two categories are at distance 1, a missing and a
    known cell at ½ or more. Rows of a generator that prefers common rows are close to training rows without a copy of
    any, so that the distance alone proves nothing: they are then as close to unseen rows, which ``nearer`` tells. If
    nothing is memorised, the share s of synthetic rows whose closest real row is one of the L training rows is
    L / (L + M), with the error of a random choice of the training rows among all real rows. For equal numbers it is

    .. math:: \frac{s}{s + (1 - s) L / M}

    Args:
        synthetic: Synthetic rows, (N, D), in which NaN is missing; categories are numbers from 0.
        real: Real rows that the generator has not seen, (M, D).
        train: Rows that the generator was fitted to, (L, D).
        columns: Name and type of each column.
        seed: Seed of the choice of rows.
    """
    rng = np.random.default_rng(seed)
    copies, copies_real = (_copies(rows, train) for rows in (synthetic, real))
    pooled = (copies * len(synthetic) + copies_real * len(real)) / (len(synthetic) + len(real))
    spread = math.sqrt(pooled * (1 - pooled) * (1 / len(synthetic) + 1 / len(real)))
    ahead = NormalDist().inv_cdf(1 - LEVEL)
    drawn = with_gaps(some(synthetic, _MOST, rng), real, rng)
    a, b, seen = _placed([drawn, real, train], train, columns)
    distance, distance_real = (float(np.median(_closest(rows, seen)[0])) for rows in (a, b))
    nearer, error = _nearer(a, b, seen, rng)
    return Privacy(
        copies=copies,
        copies_real=copies_real,
        distance=distance / len(columns),
        distance_real=distance_real / len(columns),
        nearer=nearer,
        nearer_error=error,
        copied=copies > copies_real + max(ahead * spread, 0.001),
        memorised=nearer > max(NEARER, 0.5 + ahead * error),
    )


def _nearer(a: np.ndarray, b: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """Share of rows of a whose closest row of both tables is of the second, for equally many of both; and its error."""
    both, num = np.concatenate([seen, b]), len(seen)
    order = rng.permutation(len(both))  # of rows at one distance, the first is taken
    wins = np.bincount(order[_closest(a, both[order])[1]], minlength=len(both))
    share, odds = wins[:num].sum() / len(a), num / len(b)
    spread = math.sqrt(num * len(b) / len(both) * wins.var(ddof=1)) / len(a)
    return float(share / (share + (1 - share) * odds)), spread * len(both) ** 2 / (4 * num * len(b))


def _copies(rows: np.ndarray, train: np.ndarray) -> float:
    """Share of rows that equal one of the training rows."""
    known = {row.tobytes() for row in _comparable(train)}
    return float(np.mean([row.tobytes() in known for row in _comparable(rows)]))


def _comparable(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.where(np.isnan(rows), np.float32(-3e38), rows.astype(np.float32) + 0))


def _placed(tables: Sequence[np.ndarray], train: np.ndarray, columns: Sequence[Mapping[str, Any]]) -> list[np.ndarray]:
    """Rows as vectors whose sums of absolute differences are D times the distance."""
    placed: list[list[np.ndarray]] = [[] for _ in tables]
    for place, column in enumerate(columns):
        if column["type"] in ("category", "boolean"):
            levels = np.unique(np.concatenate([x[:, place] for x in tables]))
            levels = levels[~np.isnan(levels)]
            for parts, x in zip(placed, tables, strict=True):
                gone = np.isnan(x[:, place])
                parts += [0.5 * (x[:, place, None] == levels), 0.5 * gone[:, None]]
            continue
        known = np.sort(train[~np.isnan(train[:, place]), place])
        for parts, x in zip(placed, tables, strict=True):
            gone = np.isnan(x[:, place])
            sides = [np.searchsorted(known, x[:, place], side=side) for side in ("left", "right")]
            share = (sides[0] + sides[1]) / max(1, 2 * len(known))
            parts += [np.where(gone, 0.5, share)[:, None], 0.5 * gone[:, None]]
    return [np.concatenate(parts, 1).astype(np.float32) for parts in placed]


def _closest(rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance of each row to the closest of others, and its number."""
    from sklearn.metrics import pairwise_distances_argmin_min

    places, distances = pairwise_distances_argmin_min(rows, others, metric="manhattan")
    return distances, places
