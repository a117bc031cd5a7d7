"""Conformal p-values: false alarms at a promised rate, whatever the model."""

from __future__ import annotations

import math

import numpy as np


def p_values(scores: np.ndarray, reference: np.ndarray) -> np.ndarray:
    r"""Conformal p-values of scores that are low for anomalies.

    .. math:: p(s) = \frac{1 + \#\{i: s_i \le s\}}{n + 1}

    If a new example is exchangeable with those of the reference, and neither was seen in training, then
    :math:`P(p \le \alpha) \le \alpha` for every α, over the draw of both: whatever the model, the data and the score.

    References:
        | Algorithmic Learning in a Random World (Vovk et al., 2005)
        | https://doi.org/10.1007/b106715

    Args:
        scores: Scores of new examples, (N,).
        reference: Scores of ordinary examples that the model was not trained on, (n,).

    Returns:
        float64, (N,); NaN for scores that are.

    Raises:
        ValueError: If the reference is empty or holds NaN.

    Example:
        >>> p_values(np.array([-1.0, 2.5]), np.array([1.0, 2.0, 3.0])).tolist()
        [0.25, 0.75]
    """
    _check(reference)
    p = (1 + np.searchsorted(np.sort(reference), scores, side="right")) / (len(reference) + 1)
    return np.where(np.isnan(scores), np.nan, p)


def threshold(reference: np.ndarray, rate: float) -> float:
    r"""The score below which a p-value is at most α: the k-th lowest, with :math:`k = \lfloor α (n + 1) \rfloor`.

    Args:
        reference: Scores of ordinary examples that the model was not trained on, (n,).
        rate: Promised rate of false alarms α.

    Raises:
        ValueError: If the rate is not between 0 and 1, or too low for so few references.

    Example:
        >>> threshold(np.arange(99.0), 0.05)
        4.0
    """
    _check(reference)
    check_rate(rate)
    # A rate of 0.05 of 100 is 5, although the product may be a rounding error less.
    k = math.floor(rate * (len(reference) + 1) * (1 + 1e-12))
    if k < 1:
        raise ValueError(
            f"false_alarms {rate:g} needs at least {math.ceil(1 / rate) - 1} examples to calibrate on, "
            f"there are {len(reference)}."
        )
    return float(np.sort(reference)[min(k, len(reference)) - 1])


def check_rate(rate: float) -> float:
    """Return a rate of false alarms if it lies between 0 and 1.

    Raises:
        ValueError: If it does not.
    """
    if not 0 < rate < 1:
        raise ValueError(f"false_alarms must lie between 0 and 1, got {rate}.")
    return rate


def _check(reference: np.ndarray) -> None:
    if not len(reference):
        raise ValueError("there are no examples to calibrate on.")
    if np.isnan(reference).any():
        raise ValueError(f"{int(np.isnan(reference).sum())} of {len(reference)} scores to calibrate on are NaN.")
