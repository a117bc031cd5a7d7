"""Diagnoses of columns: constant, of other scales, with heavy tails, and those that are no features."""

from __future__ import annotations

import numpy as np

from vae_zoo.evaluation.diagnosis.data.source import Source
from vae_zoo.evaluation.diagnosis.data.values import is_count
from vae_zoo.evaluation.diagnosis.finding import Finding, judge, number_of

APART = 100.0
"""Ratio of standard deviations from which the small ones are not learned, as in the line before the first step."""
HEAVY, LEAST = 9.0, 200
"""Distance of the 99.5 % quantile from the median, in quartiles' distances, from which tails are heavy, and the least
number of values that has such a quantile: 3.8 for a normal distribution, 6.6 for an exponential, 7.6 for Student's t
with 3 degrees of freedom, 12.7 for a log-normal with σ = 1."""
LEVELS, MOST_LEVELS = 50, 200
"""Categories from which most have few rows, and from which Table refuses a column (max_categories)."""


def constant_columns(source: Source) -> Finding | None:
    """Columns have the same value in every example; or all examples are equal, which is a fault.

    A density of a constant is unbounded: a learned scale runs to its bound. Constant pixels of images are normal.
    """
    if source.is_images:
        same = len(source.x) > 1 and bool((source.x == source.x[:1]).all())
        return judge(
            "constant_columns",
            "fault" if same else "fine",
            "all images are equal" if same else "images differ",
            "images differ",
            "look at how the file was written",
        )
    found = [n for n, values in enumerate(source.known) if len(values) and (values == values[0]).all()]
    everything = len(found) == len(source.columns) and source.num > 1
    ignore = f"--data.ignore '[{','.join(source.columns[n].name for n in found[:5])}]'"
    many = source.kind == "counts"  # genes that no cell has
    return judge(
        "constant_columns",
        "fault"
        if everything
        else "warning"
        if found and not (many and 2 * len(found) < len(source.columns))
        else "fine",
        f"{len(found)} of {len(source.columns)} columns are constant"
        + (f": {source.names(found)}" if found and not many else ""),
        "none",
        f"leave them out: {ignore}" if source.kind == "table" else "remove them from the file",
    )


def scales_differ(source: Source) -> Finding | None:
    """Standard deviations of columns differ by a factor of more than 100.

    A likelihood with one σ for all does not learn the small ones. Tables are scaled by default, and counts have no σ.
    """
    if source.kind != "vectors" or not source.numbers:
        return None
    spread = np.array(
        [values.std() if n in source.features and len(values) else 0.0 for n, values in enumerate(source.known)]
    )
    varied = np.flatnonzero(spread > 0)
    if not len(varied):
        return None
    low, high = varied[spread[varied].argmin()], varied[spread[varied].argmax()]
    factor = spread[high] / spread[low]
    return judge(
        "scales_differ",
        "warning" if factor > APART else "fine",
        f"standard deviations range from {spread[low]:.3g} (column {source.columns[low].name}) to {spread[high]:.3g} "
        f"(column {source.columns[high].name})",
        f"a factor of up to {APART:g}",
        "set --data.scaling standard",
    )


def tail(values: np.ndarray) -> float:
    """Distance of an extreme quantile from the median in units of the quartile's, the larger of both sides."""
    low, first, middle, third, high = np.quantile(values, (0.005, 0.25, 0.5, 0.75, 0.995))
    sides = [(far - middle) / (near - middle) for far, near in ((high, third), (low, first)) if near != middle]
    return float(max(sides, default=0.0))


def heavy_tails(source: Source) -> Finding | None:
    """Columns of real numbers have heavy tails: a few large values decide their mean and σ.

    The 99.5 % quantile lies more than 9 times as far from the median as the quartile on its side. Columns of counts
    are left out. The remedy is a logarithm for positive values, or the likelihood StudentT.
    """
    if source.kind not in ("vectors", "table"):
        return None
    sizes = {n: tail(source.known[n]) for n in source.features if len(source.known[n]) >= LEAST}
    found = [n for n, size in sizes.items() if size > HEAVY and not is_count(source.known[n])]
    positive = [n for n in found if source.known[n].min() > 0]
    log = source.option("scaling", dict.fromkeys(positive[:8], "log"))
    worst = max(sizes, key=lambda n: sizes[n], default=None)
    named = f", most in column {source.columns[worst].name} ({sizes[worst]:.3g})" if found and worst is not None else ""
    return judge(
        "heavy_tails",
        "warning" if found else "fine",
        f"{len(found)} of {len(source.features)} columns of numbers have heavy tails{named}",
        f"quantiles up to {HEAVY:g} times as far out as quartiles",
        f"take the logarithm: {log}" if positive else "take --model.likelihood StudentT, and --data.scaling robust",
    )


def too_many_levels(source: Source) -> Finding | None:
    """Columns of text have more than 50 categories, most of them in few rows; more than 200 are refused.

    Columns in which nearly every row differs are ids.
    """
    texts = [n for n, column in enumerate(source.columns) if column.type == "text"]
    if source.kind != "table" or not texts:
        return None
    named = source.ids
    many = [n for n in texts if source.columns[n].levels > LEVELS and n not in named]
    worst = max((source.columns[n].levels for n in many), default=0)
    ignore = f"--data.ignore '[{','.join(source.columns[n].name for n in many[:5])}]'"
    return judge(
        "too_many_levels",
        "fault" if worst > MOST_LEVELS else "warning" if many else "fine",
        f"{number_of(len(many), 'column')} of more than {LEVELS} categories"
        + (f": {source.names(many)}, up to {worst}" if many else ""),
        f"up to {LEVELS}",
        f"group rare categories in the file, or leave the columns out: {ignore}",
    )


def id_among_features(source: Source) -> Finding | None:
    """A column names the rows instead of describing them: nearly every row has another value.

    At least 95 % of the values differ, and they are text, consecutive whole numbers, or whole numbers under a name such
    as id. A model would spend its capacity on them.
    """
    if source.kind not in ("vectors", "table"):
        return None
    found = source.ids
    return judge(
        "id_among_features",
        "warning" if found else "fine",
        f"{number_of(len(found), 'column')} of ids" + (f": {source.names(found)}" if found else ""),
        "none among the features",
        f"--data.id_column {source.columns[found[0]].name}, which also names the rows of every result" if found else "",
    )


def label_among_features(source: Source) -> Finding | None:
    """A column is a label: by its name, such as class or target, or because it equals the labels of the file.

    Latents would encode it, and accuracies of classifiers on them would be worth nothing.
    """
    if source.kind not in ("vectors", "table"):
        return None
    found = source.labels
    named = bool(found) and source.path.suffix in (".csv", ".tsv", ".parquet")
    return judge(
        "label_among_features",
        "warning" if found else "fine",
        f"{number_of(len(found), 'column')} of labels" + (f": {source.names(found)}" if found else ""),
        "none among the features",
        f"--data.label_column {source.columns[found[0]].name}" if named else "remove the column from the features",
    )
