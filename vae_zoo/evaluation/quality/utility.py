"""How well a predictor of one column works that has only seen synthetic rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_zoo.evaluation.quality.detection import MOST, auroc, forest, some, with_gaps

GAP = 0.05
"""Losses below this are no finding, however many rows show them."""
_RESAMPLES = 200


class Utility(NamedTuple):
    """Predictors of a label that were fitted to synthetic and to real rows, both scored on other real rows.

    Args:
        label: Name of the column.
        score: ``auroc``, the mean over classes of one against the others, or ``r2``, the share of the variance
            explained, of numbers.
        num_train: Number of rows that each predictor was fitted to.
        synthetic: Score of the predictor that was fitted to synthetic rows.
        real: Score of that fitted to training rows; None without training rows.
        loss: The second minus the first.
        error: Standard error of the loss, or without training rows of the score, over the rows that are scored.
        differs: Whether the loss is above 0.05 and above three standard errors, which do not include that of the rows
            fitted to.
    """

    label: str
    score: str
    num_train: int
    synthetic: float
    real: float | None
    loss: float | None
    error: float
    differs: bool


def utility(
    synthetic: np.ndarray,
    real: np.ndarray,
    columns: Sequence[Mapping[str, Any]],
    label: str,
    *,
    train: np.ndarray | None = None,
    seed: int = 0,
) -> Utility:
    """Train on synthetic rows and test on real ones, beside train on real and test on real, with random forests.

    Both are fitted to equally many rows, complete synthetic ones with the missing cells of random real rows. Rows
    whose label is missing are left out.

    References:
        | Real-valued (Medical) Time Series Generation with Recurrent Conditional GANs (Esteban et al., 2017)
        | https://arxiv.org/abs/1706.02633

    Args:
        synthetic: Synthetic rows, (N, D), in which NaN is missing; categories are numbers from 0.
        real: Real rows that neither the generator nor a predictor has seen, (M, D).
        columns: Name and type of each column.
        label: Name of the column to predict.
        train: Rows that the generator was fitted to, (L, D).
        seed: Seed of the forests, of the choice of rows and of the bootstrap.

    Raises:
        ValueError: If there is no such column, or no second one, or if fewer than 2 values of it are known.
    """
    names = [str(column["name"]) for column in columns]
    if label not in names or len(names) < 2:
        raise ValueError(f"the label must be one of at least two columns, {', '.join(names[:12])}, got {label}.")
    place = names.index(label)
    numbers = columns[place]["type"] not in ("category", "boolean")
    rng = np.random.default_rng(seed)
    given = [with_gaps(synthetic, real, rng), *([] if train is None else [train]), real]
    *fitted, scored = [rows[~np.isnan(rows[:, place])] for rows in given]
    size = min(MOST, *map(len, fitted))
    if size < 2 or len(np.unique(scored[:, place])) < 2:
        raise ValueError(f"column {label} has too few known values to be predicted.")
    truth = scored[:, place]
    guesses = [_guesses(some(rows, size, rng), scored, place, seed, numbers) for rows in fitted]
    scores = [_score(guess, truth, numbers) for guess in guesses]
    error = _error(guesses, truth, numbers, rng)
    loss = scores[1] - scores[0] if len(scores) > 1 else None
    return Utility(
        label=label,
        score="r2" if numbers else "auroc",
        num_train=size,
        synthetic=scores[0],
        real=scores[1] if len(scores) > 1 else None,
        loss=loss,
        error=error,
        differs=loss is not None and loss > max(GAP, 3 * error),
    )


def _guesses(fitted: np.ndarray, scored: np.ndarray, place: int, seed: int, numbers: bool) -> np.ndarray:
    """Predictions of numbers, (M, 1); probabilities of categories, (M, K), 0 for those that were not seen."""
    x, y = np.delete(fitted, place, 1), fitted[:, place]
    model = forest(seed, numbers=numbers).fit(x, y if numbers else y.astype(int))
    others = np.delete(scored, place, 1)
    if numbers:
        return np.asarray(model.predict(others))[:, None]
    found = np.zeros((len(scored), int(max(y.max(), scored[:, place].max())) + 1))
    found[:, model.classes_] = model.predict_proba(others)
    return found


def _error(guesses: list[np.ndarray], truth: np.ndarray, numbers: bool, rng: np.random.Generator) -> float:
    """Standard error of the loss, or of a single score, by the bootstrap."""
    drawn = []
    for _ in range(_RESAMPLES):
        again = rng.integers(0, len(truth), len(truth))
        if len(np.unique(truth[again])) > 1:
            each = [_score(guess[again], truth[again], numbers) for guess in guesses]
            drawn.append(each[-1] - each[0] if len(each) > 1 else each[0])
    return float(np.std(drawn))


def _score(guesses: np.ndarray, truth: np.ndarray, numbers: bool) -> float:
    if numbers:
        return float(1 - np.square(guesses[:, 0] - truth).mean() / truth.var())
    areas = []
    for level in np.unique(truth):
        own, scores = truth == level, guesses[:, int(level)]
        areas.append(auroc(scores[own], scores[~own]).value)
    return float(np.mean(areas))
