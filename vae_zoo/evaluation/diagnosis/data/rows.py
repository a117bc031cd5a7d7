"""Diagnoses of examples: how many, how many twice, how many of each class, in which split."""

from __future__ import annotations

import numpy as np
import torch

from vae_zoo.evaluation.diagnosis.data.source import Source
from vae_zoo.evaluation.diagnosis.finding import Finding, judge
from vae_zoo.evaluation.diagnosis.statistics import told_apart

TWICE = 0.01
"""Share of repeated examples above which splits at random share many of them: a tenth of the examples held out has then
0.2 % of its own in the training split at least."""
FEW, FEWEST = 500, 100
"""Examples below which an encoder is learned by heart: on a table of 455 rows, it loses 9 nats of 25 on new rows."""
UNEVEN = 10.0
"""Ratio of the largest class to the smallest from which draws of a class are mostly of others."""
DRIFT = 0.6
"""Area under the ROC curve from which two splits differ: 0.5 for random splits, with an error of 0.02 for 1000 rows
each. Of MNIST, the first 1000 test images, which are known to be cleaner than later ones, have 0.66."""
_ROWS = 1000


def _repeats_mean_little(source: Source) -> bool:
    """Whether equal examples come about by chance, because there are few different ones."""
    if source.is_images:
        return False
    levels = np.array([max(1, len(np.unique(values[:2000]))) for values in source.known], np.float64)
    return bool(np.log(levels).sum() < np.log(10.0) + 2 * np.log(max(2, source.num)))


def duplicate_examples(source: Source) -> Finding | None:
    """More than 1 % of the examples are equal to earlier ones: random splits then share examples.

    Not examined if columns have so few different values that equal examples come about by chance.
    """
    if _repeats_mean_little(source) or len(source.keys) < 2:
        return None
    share = 1 - len(np.unique(source.keys)) / len(source.keys)
    return judge(
        "duplicate_examples",
        "warning" if share > TWICE else "fine",
        f"{share:.1%} of the examples are equal to earlier ones",
        f"up to {TWICE:.0%}",
        "remove them before splitting, as with pandas.DataFrame.drop_duplicates or numpy.unique(x, axis=0)",
    )


def leakage_between_splits(source: Source) -> Finding | None:
    """Examples of the test split are in the training split too, so that tests reward learning by heart.

    Any is a warning, more than 1 % a fault.
    """
    if source.test is None or _repeats_mean_little(source) or not len(source.test.keys):
        return None
    shared = np.isin(source.test.keys, source.keys)
    share, num = float(shared.mean()), int(shared.sum())
    return judge(
        "leakage_between_splits",
        "fault" if share > TWICE else "warning" if num else "fine",
        f"{num} test examples ({share:.1%}) are in the training split",
        "none",
        "remove them from one of the splits; split by person or object where there are several examples of each",
    )


def drift_between_splits(source: Source) -> Finding | None:
    """A classifier tells training from test examples: they come from other times, places or instruments.

    Its area under the ROC curve on held-out examples must exceed 0.6 by two standard errors (see
    ``statistics.told_apart``).
    """
    if source.test is None or min(len(source.x), len(source.test.x)) < 20:
        return None
    first, second = (_features(part.x, part.is_images) for part in (source, source.test))
    area = told_apart(first, second)
    return judge(
        "drift_between_splits",
        "warning" if area.low > DRIFT else "fine",
        f"a classifier tells training from test examples with an AUROC of {area}",
        f"up to {DRIFT}; 0.5 is equality",
        "split at random, unless new data will differ as much: then test results are honest, and a bound on the test "
        "split measures the drift too",
    )


def _features(x: np.ndarray, images: bool) -> torch.Tensor:
    rows = np.sort(np.random.default_rng(0).permutation(len(x))[:_ROWS])
    part = torch.from_numpy(np.ascontiguousarray(x[rows])).float()
    if images and part.ndim == 4 and max(part.shape[-2:]) > 16:
        part = torch.nn.functional.adaptive_avg_pool2d(part, 16)
    return torch.where(part.isfinite(), part, 0.0).flatten(1)


def too_few_examples(source: Source) -> Finding | None:
    """There are fewer than 500 examples, or fewer than dimensions; fewer than 100 are a fault.

    An encoder of so few is learned by heart, whatever its size. Counts may have more dimensions than examples.
    """
    dims = 0 if source.kind in ("counts", "folder", "images") else len(source.columns)
    few = source.num < FEW or source.num < dims
    return judge(
        "too_few_examples",
        "fault" if source.num < FEWEST else "warning" if few else "fine",
        f"{source.num} examples" + (f" of {dims} dimensions" if dims else ""),
        f"at least {FEW}, and as many as dimensions",
        "take small networks and few latents, augment images (--data.flip true --data.shift 2), or a linear model "
        "(--model.encoder.hidden [] --model.decoder.hidden [])",
    )


def class_imbalance(source: Source) -> Finding | None:
    """The largest class has more than 10 times as many examples as the smallest.

    Examined if labels are known: subfolders of images, y of an array file, or a given column.
    """
    if source.y is None:
        return None
    names, counts = np.unique(source.y, return_counts=True)
    if len(names) < 2:
        return None
    factor = counts.max() / counts.min()
    return judge(
        "class_imbalance",
        "warning" if factor > UNEVEN else "fine",
        f"{len(names)} classes with {counts.min()} ({names[counts.argmin()]}) to {counts.max()} "
        f"({names[counts.argmax()]}) examples",
        f"a factor of up to {UNEVEN:g}",
        "report metrics for each class, join rare classes, or condition on the class (ConditionalVAE) and draw "
        "them evenly",
    )
