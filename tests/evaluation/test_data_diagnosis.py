"""Planted faults of data, each found under its name, and data without fault in which nothing is found."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from diagnosed import named, one

from vae_zoo.evaluation.diagnosis import diagnose_data, read_source, recommend
from vae_zoo.evaluation.diagnosis.data import columns, images, rows, values
from vae_zoo.evaluation.diagnosis.data.diagnose import DATA
from vae_zoo.evaluation.diagnosis.data.source import Source

RANDOM = np.random.default_rng(0)
NAMES = [f"f{n}" for n in range(6)]


def vectors(num: int = 600) -> np.ndarray:
    random = np.random.default_rng(1)
    loadings = random.normal(size=(3, 6))
    return random.normal(size=(num, 3)) @ loadings + 0.3 * random.normal(size=(num, 6))


def pictures(num: int = 600) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (num, 3, 8, 8), dtype=np.uint8)


def saved(folder: Path, x: np.ndarray, test: np.ndarray | None = None, **more: Any) -> Source:
    np.savez(folder / "x.npz", x=x, **more)
    if test is not None:
        np.save(folder / "test.npy", test)
    return read_source(folder / "x.npz", None if test is None else folder / "test.npy")


def frame(num: int = 600, **more: Any) -> dict[str, Any]:
    random = np.random.default_rng(3)
    made = {"weight": random.normal(70, 9, num).round(1), "city": random.choice(["bergen", "oslo", "tromsø"], num)}
    return {**made, "member": random.choice(["yes", "no"], num), **more}


def written(folder: Path, table: dict[str, Any], **given: Any) -> Source:
    import pandas

    pandas.DataFrame(table).to_csv(folder / "x.csv", index=False)
    return read_source(folder / "x.csv", **given)


def painted(folder: Path, num: int = 8, **change: Any) -> Source:
    """A folder of images, the last of which is another."""
    from PIL import Image

    random = np.random.default_rng(4)
    for n in range(num):
        image = Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8))
        if n == num - 1 and "last" in change:
            image = change["last"](image)
        image = change["every"](image) if "every" in change else image
        image.save(folder / f"{n}.png")
    if "bad" in change:
        (folder / "bad.png").write_text(change["bad"])
    return read_source(folder)


@pytest.mark.parametrize(
    "make",
    [
        lambda folder: saved(folder, vectors(), vectors(930)[600:], y=np.arange(600) % 3),
        lambda folder: saved(folder, pictures(), np.random.default_rng(9).integers(0, 256, (200, 3, 8, 8), np.uint8)),
        lambda folder: saved(folder, (np.random.default_rng(5).random((600, 20)) < 0.3).astype(np.float32)),
        lambda folder: written(folder, frame()),
        lambda folder: written(folder, dict(zip(NAMES, vectors().T, strict=True))),
        lambda folder: painted(folder, 510),
    ],
    ids=["vectors", "images", "bits", "table", "numbers", "folder"],
)
def test_nothing_is_found_in_good_data(make: Any, tmp_path: Path) -> None:
    found = diagnose_data(make(tmp_path))
    assert not named(found), [finding for finding in found if finding.severity != "fine"]
    assert len(found) >= 8


def test_nothing_is_found_in_a_file_of_counts(tmp_path: Path) -> None:
    from scipy import sparse

    counts = np.random.default_rng(6).negative_binomial(0.3, 0.1, size=(600, 40))
    sparse.save_npz(tmp_path / "x.npz", sparse.csr_matrix(counts))
    source = read_source(tmp_path / "x.npz")
    assert source.kind == "counts"
    assert not named(diagnose_data(source))


def put(x: np.ndarray, value: Any, place: Any) -> np.ndarray:
    x = x.copy()
    x[place] = value
    return x


POINTS = vectors()
PLANTED: dict[str, tuple[Any, Any, str]] = {
    "bytes as floats": (values.images_off_range, lambda f: saved(f, pictures().astype(np.float32)), "fault"),
    "from -1 to 1": (values.images_off_range, lambda f: saved(f, np.float32(pictures() / 127.5 - 1)), "warning"),
    "bits as bytes": (values.images_off_range, lambda f: saved(f, pictures() % 2), "fault"),
    "infinity": (values.infinite_values, lambda f: saved(f, put(POINTS, math.inf, (3, 2))), "fault"),
    "NaN in an array": (values.missing_values, lambda f: saved(f, put(POINTS, math.nan, (3, 2))), "warning"),
    "many empty cells": (
        values.missing_values,
        lambda f: written(f, frame(gone=put(RANDOM.normal(size=600), math.nan, slice(400)))),
        "warning",
    ),
    "an empty column": (values.missing_values, lambda f: written(f, frame(gone=[None] * 600)), "fault"),
    "counts among numbers": (
        values.counts_as_numbers,
        lambda f: saved(f, put(POINTS, RANDOM.poisson(2, 600), (slice(None), 1))),
        "warning",
    ),
    "counts in a table": (
        values.counts_as_numbers,
        lambda f: written(f, frame(visits=RANDOM.negative_binomial(1, 0.3, 600))),
        "warning",
    ),
    "zeros": (
        values.mostly_zeros,
        lambda f: saved(f, np.where(RANDOM.random((600, 6)) < 0.8, 0.0, RANDOM.gamma(1, size=(600, 6)))),
        "warning",
    ),
    "bits of -1 and 1": (
        values.binary_as_continuous,
        lambda f: saved(f, np.where(RANDOM.random((600, 20)) < 0.5, -1.0, 1.0)),
        "warning",
    ),
    "one binary column": (
        values.binary_as_continuous,
        lambda f: saved(f, put(POINTS, np.arange(600) % 2, (slice(None), 1))),
        "warning",
    ),
    "a constant column": (
        columns.constant_columns,
        lambda f: saved(f, put(POINTS, 5.0, (slice(None), 1))),
        "warning",
    ),
    "equal images": (columns.constant_columns, lambda f: saved(f, np.repeat(pictures(1), 600, 0)), "fault"),
    "grams and tonnes": (
        columns.scales_differ,
        lambda f: saved(f, POINTS * [1, 1, 1, 1, 1, 1e6]),
        "warning",
    ),
    "heavy tails": (
        columns.heavy_tails,
        lambda f: saved(f, put(POINTS, POINTS[:, 0] ** 5, (slice(None), 0))),
        "warning",
    ),
    "incomes": (columns.heavy_tails, lambda f: written(f, frame(pay=np.exp(RANDOM.normal(9, 1, 600)))), "warning"),
    "streets": (
        columns.too_many_levels,
        lambda f: written(f, frame(street=[f"s{n % 90}" for n in range(600)])),
        "warning",
    ),
    "many streets": (
        columns.too_many_levels,
        lambda f: written(f, frame(street=[f"s{n % 290}" for n in range(600)])),
        "fault",
    ),
    "names": (columns.id_among_features, lambda f: written(f, frame(who=[f"p{n}" for n in range(600)])), "warning"),
    "row numbers": (columns.id_among_features, lambda f: written(f, frame(n=np.arange(600))), "warning"),
    "an id": (columns.id_among_features, lambda f: written(f, frame(user_id=97 * np.arange(600) ** 2)), "warning"),
    "a class": (columns.label_among_features, lambda f: written(f, frame(target=np.arange(600) % 4)), "warning"),
    "labels in x": (
        columns.label_among_features,
        lambda f: saved(f, put(POINTS, np.arange(600) % 3, (slice(None), 1)), y=np.arange(600) % 3),
        "warning",
    ),
    "repeated rows": (rows.duplicate_examples, lambda f: saved(f, np.concatenate([POINTS, POINTS[:50]])), "warning"),
    "rows in two splits": (rows.leakage_between_splits, lambda f: saved(f, POINTS, POINTS[:100]), "fault"),
    "one row in two splits": (
        rows.leakage_between_splits,
        lambda f: saved(f, POINTS, np.concatenate([vectors(930)[600:], POINTS[:1]])),
        "warning",
    ),
    "later rows": (rows.drift_between_splits, lambda f: saved(f, POINTS, vectors(930)[600:] + 1.5), "warning"),
    "noisier rows": (rows.drift_between_splits, lambda f: saved(f, POINTS, 2 * vectors(930)[600:]), "warning"),
    "darker images": (rows.drift_between_splits, lambda f: saved(f, pictures(), pictures(200)[::-1] // 2), "warning"),
    "few rows": (rows.too_few_examples, lambda f: saved(f, vectors(200)), "warning"),
    "fewer rows than columns": (rows.too_few_examples, lambda f: saved(f, RANDOM.normal(size=(520, 700))), "warning"),
    "30 rows": (rows.too_few_examples, lambda f: saved(f, vectors(30)), "fault"),
    "a rare class": (rows.class_imbalance, lambda f: saved(f, POINTS, y=np.int64(np.arange(600) < 12)), "warning"),
    "an empty file": (images.unreadable_images, lambda f: painted(f, bad=""), "fault"),
    "no image": (images.unreadable_images, lambda f: painted(f, bad="no image"), "fault"),
    "another shape": (images.images_of_mixed_sizes, lambda f: painted(f, last=lambda i: i.resize((20, 30))), "warning"),
    "another size": (images.images_of_mixed_sizes, lambda f: painted(f, last=lambda i: i.resize((50, 50))), "warning"),
    "transparency": (images.transparent_images, lambda f: painted(f, last=transparent), "warning"),
    "grey in colour": (
        images.grey_stored_as_colour,
        lambda f: painted(f, every=lambda i: i.convert("L").convert("RGB")),
        "warning",
    ),
    "three equal channels": (
        images.grey_stored_as_colour,
        lambda f: saved(f, np.repeat(pictures()[:, :1], 3, 1)),
        "warning",
    ),
    "a black image": (images.blank_images, lambda f: painted(f, last=lambda i: i.point(lambda _: 0)), "warning"),
    "black images": (images.blank_images, lambda f: saved(f, put(pictures(), 0, slice(400))), "fault"),
}


def transparent(image: Any) -> Any:
    image = image.convert("RGBA")
    image.putpixel((3, 3), (0, 0, 0, 0))
    return image


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_named(name: str, tmp_path: Path) -> None:
    diagnosis, make, severity = PLANTED[name]
    source = make(tmp_path)
    assert one(diagnosis, source).severity == severity
    assert diagnosis.__name__ in named(diagnose_data(source))


def test_every_diagnosis_has_a_planted_fault() -> None:
    assert {diagnosis for diagnosis, _, _ in PLANTED.values()} == set(DATA)
    assert all((diagnosis.__doc__ or "").strip() for diagnosis in DATA)


def test_rows_that_repeat_by_chance_are_no_duplicates(tmp_path: Path) -> None:
    source = saved(tmp_path, RANDOM.integers(0, 2, (600, 4)).astype(np.float32))
    assert rows.duplicate_examples(source) is None


@pytest.mark.parametrize(
    ("sample", "size"),
    [
        (lambda n: RANDOM.normal(size=n), 3.82),
        (lambda n: RANDOM.exponential(size=n), 6.64),
        (lambda n: RANDOM.standard_t(3, n), 7.64),
        (lambda n: np.exp(RANDOM.normal(size=n)), 12.7),
    ],
    ids=["normal", "exponential", "t", "log-normal"],
)
def test_the_tails_of_known_distributions(sample: Any, size: float) -> None:
    """The quantiles in closed form, from scipy.stats, behind the threshold."""
    assert columns.tail(sample(400_000)) == pytest.approx(size, rel=0.03)


def test_a_table_is_read_with_its_types(tmp_path: Path) -> None:
    table = frame(joined=["2024-05-31", "2020-01-01"] * 300, big=["inf"] + ["1"] * 599, known=["NA"] + ["2"] * 599)
    source = written(tmp_path, table, label_column="member")
    assert {column.name: column.type for column in source.columns} == {
        "weight": "number",
        "city": "text",
        "joined": "date",
        "big": "number",
        "known": "number",
    }
    assert source.y is not None
    assert set(source.y) == {"yes", "no"}
    assert np.isinf(source.x[0, 3])
    assert np.isnan(source.x[0, 4])


def test_a_file_without_names_of_columns(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "x.csv", vectors(), delimiter=",")
    source = read_source(tmp_path / "x.csv")
    assert source.num == 600
    assert recommend(source).data == "Arrays"


def test_splits_of_a_folder(tmp_path: Path) -> None:
    for split, num in (("train", 8), ("test", 4)):
        for kind in ("cats", "dogs"):
            (tmp_path / split / kind).mkdir(parents=True)
            painted(tmp_path / split / kind, num)
    source = read_source(tmp_path)
    assert (source.num, source.test.num if source.test else 0) == (16, 8)
    assert set(source.y if source.y is not None else ()) == {"cats", "dogs"}
    assert one(rows.leakage_between_splits, source).severity == "fault"  # drawn from one seed
