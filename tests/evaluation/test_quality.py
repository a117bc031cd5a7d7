"""Quality of synthetic rows: measures against scipy and simulations, and bad tables named by the right line."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from vae_zoo.evaluation.quality import associations, auroc, marginals, privacy, quality, two_sample, utility
from vae_zoo.evaluation.quality.associations import correlation_ratio, cramer
from vae_zoo.evaluation.quality.marginals import kolmogorov_smirnov, total_variation

COLUMNS: list[dict[str, Any]] = [
    {"name": "city", "type": "category", "categories": ["a", "b", "c"]},
    {"name": "age", "type": "number"},
    {"name": "income", "type": "number"},
    {"name": "member", "type": "boolean"},
]


def rows(num: int, seed: int) -> np.ndarray:
    """Age depends on the city, income on age; a tenth of the ages is missing."""
    rng = np.random.default_rng(seed)
    city = rng.integers(0, 3, num)
    age = rng.normal(30 + 15 * city, 5)
    x = np.stack([city, age, np.exp(9 + 0.02 * age + 0.2 * rng.normal(size=num)), rng.random(num) < 0.3], 1)
    x[rng.random(num) < 0.1, 1] = np.nan
    return x.astype(np.float32)


def shuffled(x: np.ndarray) -> np.ndarray:
    return np.stack([np.random.default_rng(n).permutation(column) for n, column in enumerate(x.T)], 1)


def test_the_distances_are_those_of_scipy_and_of_the_definition() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=70), rng.normal(0.5, 2, size=40).round(1)
    assert kolmogorov_smirnov(a, b) == pytest.approx(stats.ks_2samp(a, b).statistic)
    assert kolmogorov_smirnov(b, b[:20]) == pytest.approx(stats.ks_2samp(b, b[:20]).statistic)
    assert total_variation(np.array([0, 0, 1, 1]), np.array([0, 1, 2, 2])) == pytest.approx(0.5)
    for measure in (kolmogorov_smirnov, total_variation):
        assert measure(a, a[:0]) == 1
        assert measure(a[:0], a[:0]) == 0


def test_samples_of_one_distribution_stay_below_their_limits() -> None:
    above, largest = [], 0.0
    for seed in range(60):
        found = marginals(rows(150, seed), rows(90, 1000 + seed), COLUMNS)
        above.append(sum(row.distance > row.limit for row in found))
        largest = max(largest, *(row.distance / row.limit for row in found))
    assert sum(above) <= 3
    assert largest > 0.7, "limits that mean something"


@pytest.mark.filterwarnings("ignore:p-value")
def test_associations_are_those_of_scipy() -> None:
    x, y = rows(400, 0), rows(300, 1)
    found = {(pair.first, pair.second): pair for pair in associations(x, y, COLUMNS)}
    known = ~np.isnan(x[:, 1])
    pair = found["age", "income"]
    assert pair.measure == "correlation"
    assert pair.synthetic == pytest.approx(stats.spearmanr(x[known, 1], x[known, 2]).statistic, abs=0.01)
    assert found["city", "age"].measure == "ratio"
    assert found["city", "age"].synthetic > 0.85
    assert found["city", "member"].measure == "ratio", "booleans are numbers, which have a sign"
    assert not any(pair.differs for pair in found.values())
    groups = [x[x[:, 0] == level, 2] for level in range(3)]
    f = stats.f_oneway(*groups).statistic
    plain = 2 * f / (2 * f + len(x) - 3)
    corrected = 1 - (1 - plain) * (len(x) - 1) / (len(x) - 3)
    assert correlation_ratio(x[:, 2], x[:, 0]) ** 2 == pytest.approx(corrected, rel=1e-4)


def test_measures_of_categories_are_near_0_without_and_1_with_a_rule() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 5, 200)
    assert cramer(a, (a + 2) % 5) == pytest.approx(1)
    plain = [stats.contingency.association(_table(a, rng.integers(0, 5, 200))) for _ in range(50)]
    own = [cramer(a, rng.integers(0, 5, 200)) for _ in range(50)]
    assert np.mean(own) < 0.5 * np.mean(plain), "the bias of small samples is gone"
    assert correlation_ratio(a.astype(float), a) == pytest.approx(1)
    assert correlation_ratio(np.ones(9), np.arange(9) % 3) == 0


def _table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([[((a == i) & (b == j)).sum() for j in range(5)] for i in range(5)])


def test_the_area_and_its_error() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 50).round(1), rng.normal(0, 1, 80).round(1)
    wanted = stats.mannwhitneyu(a, b).statistic / (50 * 80)
    assert auroc(a, b).value == pytest.approx(wanted)
    drawn = [auroc(rng.normal(1, 1, 50), rng.normal(0, 1, 80)) for _ in range(400)]
    spread = np.std([area.value for area in drawn])
    assert np.mean([area.error for area in drawn]) == pytest.approx(spread, rel=0.1)


@pytest.mark.exhaustive
def test_rows_of_the_same_distribution_have_no_findings() -> None:
    found = quality(rows(300, 0), rows(200, 1), COLUMNS, train=rows(500, 2), label="city")
    assert found.findings == []
    assert abs(found.two_sample.value - 0.5) < 3 * found.two_sample.error
    assert found.utility is not None
    assert found.utility.synthetic > 0.85
    assert found.marginal_distance < 0.1
    assert found.association_difference < 0.1
    plain = found.plain()
    assert plain["num_rows"] == {"synthetic": 300, "real": 200, "training": 500}
    assert len(plain["associations"]) == 6


@pytest.mark.exhaustive
def test_shuffled_columns_are_found_by_their_pairs_and_not_by_their_marginals() -> None:
    found = quality(shuffled(rows(300, 0)), rows(200, 1), COLUMNS, train=rows(300, 2), label="city")
    lines = found.findings
    assert not any(line.startswith("column ") for line in lines)
    assert any("columns city and age: correlation ratio 0." in line for line in lines)
    assert any("columns age and income: correlation" in line for line in lines)
    assert any(line.startswith("a classifier tells") for line in lines)
    assert any(line.startswith("a predictor of city learns less") for line in lines)
    assert not any("train" in line and "of the rows" in line for line in lines)


def test_copies_of_training_rows_are_found_by_their_distance_alone() -> None:
    train = rows(500, 2)
    copied = train[np.random.default_rng(0).choice(500, 300)]
    found = quality(copied[:300], rows(200, 1), COLUMNS, train=train)
    assert len(found.findings) == 2
    assert found.findings[0].startswith("100.0% of the rows copy a training row, of unseen real rows 0.0%")
    assert "nearer to training rows" in found.findings[1]
    few = np.concatenate([rows(290, 3), copied[:10]])
    assert privacy(few, rows(200, 1), train, COLUMNS).copied
    noisy = copied.copy()
    noisy[:, 2] *= 1 + 1e-3 * np.random.default_rng(1).normal(size=len(noisy)).astype(np.float32)
    near = privacy(noisy, rows(200, 1), train, COLUMNS)
    assert (near.copied, near.memorised) == (False, True)


def test_rows_of_a_narrow_generator_are_close_but_not_memorised() -> None:
    """Near the middle of all rows, close to any training row and as close to unseen ones."""
    rng = np.random.default_rng(0)
    columns = [{"name": str(n), "type": "number"} for n in range(4)]
    train, real = rng.normal(size=(600, 4)), rng.normal(size=(300, 4))
    found = [privacy(0.3 * rng.normal(size=(300, 4)), real, train, columns) for _ in range(3)]
    for near in found:
        assert near.distance < near.distance_real
        assert not near.memorised
        assert abs(near.nearer - 0.5) < 4 * near.nearer_error


def test_the_share_of_nearer_rows_is_a_half_with_its_error_for_unequal_tables() -> None:
    columns = [{"name": str(n), "type": "number"} for n in range(3)]
    scores = []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        near = privacy(*(rng.normal(size=(num, 3)) for num in (60, 40, 200)), columns)
        scores.append((near.nearer - 0.5) / near.nearer_error)
    assert abs(np.mean(scores)) < 0.4
    assert 0.7 < np.std(scores) < 1.4


def test_a_collapsed_column_and_lost_cells_are_found_in_their_column() -> None:
    x = rows(300, 0)
    x[:, 2] = 12_000
    found = quality(x, rows(200, 1), COLUMNS).findings
    assert next(line for line in found if line.startswith("column ")).startswith("column income: distance 0.")
    x = rows(300, 0)
    x[:, 1] = np.where(np.isnan(x[:, 1]), 40, x[:, 1])
    found = marginals(x, rows(200, 1), COLUMNS)
    assert [row.missing_differs for row in found] == [False, True, False, False]
    x[:, 0] = 2
    assert [row.column for row in marginals(x, rows(200, 1), COLUMNS) if row.differs] == ["city"]
    x[:, 2] = np.nan
    assert [row.column for row in marginals(x, rows(200, 1), COLUMNS) if row.differs] == ["city", "income"]


@pytest.mark.exhaustive
def test_complete_rows_are_not_told_apart_by_their_completeness() -> None:
    x = rows(600, 0)
    complete, real, train = x[~np.isnan(x).any(1)], rows(300, 1), rows(300, 2)
    real[::2, 1], train[::2, 1] = np.nan, np.nan
    found = quality(complete, real, COLUMNS, train=train)
    assert found.gaps
    assert abs(found.two_sample.value - 0.5) < 3 * found.two_sample.error
    assert found.privacy is not None
    assert abs(found.privacy.nearer - 0.5) < 3 * found.privacy.nearer_error
    assert [line.startswith("column age: 0% of the cells missing, really") for line in found.findings] == [True]
    x[0, 1] = np.nan
    assert not quality(x, real, COLUMNS).gaps


@pytest.mark.exhaustive
def test_a_predictor_of_numbers_and_one_of_a_single_class() -> None:
    x, y = rows(300, 0), rows(200, 1)
    found = utility(x, y, COLUMNS, "income", train=rows(400, 2))
    assert found.score == "r2"
    assert found.num_train == 300
    assert found.real is not None
    assert found.synthetic > 0.4
    assert not found.differs
    x[:, 0] = 1
    found = utility(x, y, COLUMNS, "city", train=rows(400, 2))
    assert found.synthetic == 0.5
    assert found.differs


def test_unsuitable_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"synthetic rows must be at least 20 of 4 columns, got an array \(5, 4\)"):
        quality(rows(5, 0), rows(50, 1), COLUMNS)
    with pytest.raises(ValueError, match="the label must be one of at least two columns, city, age"):
        utility(rows(50, 0), rows(50, 1), COLUMNS, "town")


def test_a_classifier_of_your_own() -> None:
    from sklearn.tree import DecisionTreeClassifier

    area = two_sample(rows(200, 0), shuffled(rows(200, 1)), classifier=lambda: DecisionTreeClassifier(max_depth=4))
    assert area.value > 0.6
