"""All measures of the quality of synthetic rows, and what they find."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vae_zoo.evaluation.quality.associations import Association, associations
from vae_zoo.evaluation.quality.detection import AUROC, Auroc, two_sample
from vae_zoo.evaluation.quality.marginals import Marginal, marginals
from vae_zoo.evaluation.quality.privacy import Privacy, privacy
from vae_zoo.evaluation.quality.utility import Utility, utility

FEWEST = 20
"""Smallest number of rows of each table."""


class Quality(NamedTuple):
    """The quality of synthetic rows.

    Args:
        marginals: Of each column.
        associations: Of each pair of columns, the largest difference first.
        two_sample: Area of a classifier of synthetic against real rows.
        utility: Of predictors of a label; None without one.
        privacy: Distances to the training rows; None without them.
        num_rows: Numbers of synthetic, real and training rows.
        gaps: Whether complete synthetic rows were given the missing cells of random real rows where these would
            tell them apart.
    """

    marginals: list[Marginal]
    associations: list[Association]
    two_sample: Auroc
    utility: Utility | None
    privacy: Privacy | None
    num_rows: dict[str, int]
    gaps: bool

    @property
    def marginal_distance(self) -> float:
        """Mean distance of the columns."""
        return float(np.mean([column.distance for column in self.marginals]))

    @property
    def association_difference(self) -> float:
        """Mean absolute difference of the associations of all pairs, 0 for a single column."""
        gaps = [abs(pair.synthetic - pair.real) for pair in self.associations]
        return float(np.mean(gaps)) if gaps else 0.0

    @property
    def findings(self) -> list[str]:
        """What is wrong with the rows, a line each; empty if nothing was found."""
        return list(_findings(self))

    def plain(self) -> dict[str, Any]:
        """Plain data, for a JSON file."""
        return {
            "num_rows": self.num_rows,
            "gaps": self.gaps,
            "findings": self.findings,
            "marginal_distance": self.marginal_distance,
            "association_difference": self.association_difference,
            "two_sample": self.two_sample._asdict(),
            "utility": self.utility and self.utility._asdict(),
            "privacy": self.privacy and self.privacy._asdict(),
            "marginals": [column._asdict() for column in self.marginals],
            "associations": [pair._asdict() for pair in self.associations],
        }


def quality(
    synthetic: np.ndarray,
    real: np.ndarray,
    columns: Sequence[Mapping[str, Any]],
    *,
    train: np.ndarray | None = None,
    label: str | None = None,
    seed: int = 0,
) -> Quality:
    """Measure the quality of synthetic rows.

    Args:
        synthetic: Synthetic rows, (N, D), in which NaN is missing; categories are numbers from 0.
        real: Real rows that the generator was not fitted to, (M, D).
        columns: Name and type of each column, and the ``categories`` of a category: see
            :class:`~vae_zoo.data.Table`.
        train: Rows that the generator was fitted to, (L, D); without them, memorisation is not measured.
        label: Name of a column to predict.
        seed: Seed of all draws.

    Raises:
        ValueError: If a table has fewer than 20 rows or another number of columns, or the label is no column.
    """
    given = {"synthetic": synthetic, "real": real} | ({} if train is None else {"training": train})
    for name, rows in given.items():
        if rows.ndim != 2 or rows.shape[1] != len(columns) or len(rows) < FEWEST:
            raise ValueError(
                f"{name} rows must be at least {FEWEST} of {len(columns)} columns, got an array {rows.shape}."
            )
    return Quality(
        marginals=marginals(synthetic, real, columns, train=train),
        associations=associations(synthetic, real, columns, train=train),
        two_sample=two_sample(synthetic, real, seed=seed),
        utility=None if label is None else utility(synthetic, real, columns, label, train=train, seed=seed),
        privacy=None if train is None else privacy(synthetic, real, train, columns, seed=seed),
        num_rows={name: len(rows) for name, rows in given.items()},
        gaps=bool(np.isnan(real).any() and not np.isnan(synthetic).any()),
    )


def _findings(found: Quality) -> Any:
    for column in found.marginals:
        if column.differs:
            yield f"column {column.column}: distance {column.distance:.2f}, by chance up to {column.limit:.2f}"
        if column.missing_differs:
            yield f"column {column.column}: {column.missing:.0%} of the cells missing, really {column.missing_real:.0%}"
    for pair in found.associations:
        if pair.differs:
            measure = {"correlation": "correlation", "ratio": "correlation ratio", "cramer": "Cramér's V"}[pair.measure]
            yield f"columns {pair.first} and {pair.second}: {measure} {pair.synthetic:.2f}, really {pair.real:.2f}"
    area, error = found.two_sample
    if area > max(AUROC, 0.5 + 2 * error):
        yield f"a classifier tells the rows from real ones: AUROC {area:.2f} ± {error:.2f}"
    if (use := found.utility) and use.differs:
        yield (
            f"a predictor of {use.label} learns less from the rows: {use.score} {use.synthetic:.2f}, "
            f"from training rows {use.real:.2f}"
        )
    if (near := found.privacy) and near.copied:
        yield f"{near.copies:.1%} of the rows copy a training row, of unseen real rows {near.copies_real:.1%}"
    if near and near.memorised:
        yield f"{near.nearer:.0%} of the rows are nearer to training rows than to as many unseen real rows, not 50%"
