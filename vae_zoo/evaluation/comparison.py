"""Comparison of models, example by example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor


class Difference(NamedTuple):
    """Mean difference of two models over the same examples.

    Args:
        mean: Mean of the differences.
        error: Its standard error over examples.
        p: Two-sided probability of a mean at least as far from 0 if there were no difference, from Student's t.
    """

    mean: float
    error: float
    p: float


def paired_difference(first: Tensor, second: Tensor) -> Difference:
    r"""Mean of the differences of two models, example by example.

    .. math:: \bar d = \frac{1}{N} \sum_n (a_n - b_n), \quad
        s^2 = \frac{1}{N (N - 1)} \sum_n (a_n - b_n - \bar d)^2

    Examples differ much more from each other than models do on the same example, so the error of the difference is far
    below those of the two means. It is an error over examples and does not include the variation between training
    seeds.

    Args:
        first: Values of the first model, (N,).
        second: Values of the second model on the same examples, (N,).

    Raises:
        ValueError: If they are not of one length of at least 2.
    """
    if first.shape != second.shape or first.ndim != 1 or len(first) < 2:
        raise ValueError(f"values must be (N,) with N of at least 2, got {tuple(first.shape)}, {tuple(second.shape)}.")
    from scipy.stats import t as student

    gaps = first.double() - second.double()
    mean, error = gaps.mean().item(), (gaps.std() / math.sqrt(len(gaps))).item()
    if error == 0:
        return Difference(mean, 0.0, 1.0 if mean == 0 else 0.0)
    return Difference(mean, error, 2 * float(student.sf(abs(mean) / error, len(gaps) - 1)))


def holm(probabilities: Sequence[float]) -> list[float]:
    """Probabilities of several tests, corrected so that each bounds the probability of any false finding.

    References:
        | A Simple Sequentially Rejective Multiple Test Procedure (Holm, 1979)
        | https://www.jstor.org/stable/4615733

    Args:
        probabilities: The probability of each test.
    """
    order = sorted(range(len(probabilities)), key=lambda i: probabilities[i])
    corrected, largest = [0.0] * len(probabilities), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * probabilities[i]))
        corrected[i] = largest
    return corrected
