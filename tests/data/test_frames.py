"""Types of the columns of tables, and rows as numbers and back."""

from __future__ import annotations

import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vae_zoo.data import Table
from vae_zoo.data.files.frames import decode, encode, encode_values, infer, like, read_frame, write_frame

from .table_cases import CITIES, people, table, write

pandas = pytest.importorskip("pandas")


def test_types_are_inferred(tmp_path: Path) -> None:
    columns = {column["name"]: column for column in table(tmp_path, columns=None).columns}
    kinds = {name: column["type"] for name, column in columns.items()}
    assert kinds == {
        "city": "category",
        "age": "number",
        "income": "number",
        "smokes": "boolean",
        "visits": "number",
        "joined": "date",
    }
    assert columns["city"]["categories"] == CITIES
    assert columns["smokes"]["values"] == ["no", "yes"]
    assert columns["age"]["digits"] == 0
    assert columns["income"]["digits"] == 2
    whole = pandas.DataFrame({"n": ["31.0", "", "4.00"], "part": ["0.50", "1.25", "2"]})
    assert [column["digits"] for column in infer(whole, {}, 9, "t")] == [0, 2], (
        "as pandas writes whole numbers with gaps"
    )


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2.5", "-3e4"], "number"),
        (["0", "1", ""], "boolean"),
        (["True", "FALSE", "NA"], "boolean"),
        (["2024-01-31", "2023-12-01"], "date"),
        (["2024-01-31T08:00:00", "2023-12-01 09:30"], "date"),
        (["low", "high", "3"], "category"),
        (["1_000", "2"], "category"),
        (["inf", "1"], "category"),
        (["7", "7", ""], "category"),
        (["2024-01-31", "2024-01-31"], "category"),
    ],
)
def test_the_type_of_a_column_is_that_of_all_its_cells(cells: list[str], kind: str) -> None:
    frame = pandas.DataFrame({"a": cells})
    assert infer(frame, {}, 10, "t")[0]["type"] == kind


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = people(tmp_path, num=50)
    frame = read_frame(Path(path)).drop(columns="id")
    columns = infer(frame, {"visits": "count"}, 10, "t")
    x = encode(frame, columns, "t")
    back = decode(x, columns)
    write_frame(tmp_path / "back.csv", back)
    again = read_frame(tmp_path / "back.csv")
    for name in ("city", "age", "smokes", "visits", "joined"):
        assert again[name].tolist() == frame[name].tolist(), name
    known = frame["income"] != ""
    np.testing.assert_allclose(again["income"][known].astype(float), frame["income"][known].astype(float), rtol=1e-5)
    np.testing.assert_array_equal(encode(again, columns, "t"), encode(back.astype(object), columns, "t"))


def test_a_parquet_file_has_the_types_of_its_columns(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {
            "n": np.arange(60) / 4,
            "whole": pandas.array([None, *range(2, 61)], dtype="Int64"),
            "flag": np.arange(60) % 2 == 0,
            "day": pandas.date_range("2021-01-01", periods=60),
            "kind": pandas.Categorical(["a", "b", None] * 20),
        }
    )
    data = Table.from_frame(frame, tmp_path / "t.parquet")
    assert [column["type"] for column in data.columns] == ["number", "number", "boolean", "date", "category"]
    x = data.load("train").x
    assert x[:, [0, 2, 3]].isfinite().all()
    assert x[:, 4].isnan().any()
    rows = encode(read_frame(tmp_path / "t.parquet"), data.columns, "t")
    np.testing.assert_allclose(rows[:, 0], np.arange(60) / 4)
    np.testing.assert_allclose(rows[:, 3], np.arange(60))
    assert np.isnan(rows[0, 1])
    assert np.isnan(rows[2, 4])


def test_rows_of_a_parquet_file_come_back_in_its_types(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(
        {
            "flag": [0, 1, 1, 0],
            "year": [2024] * 4,
            "rate": [0.1, None, 0.1, 0.1],
            "at": pandas.date_range("2021-03-28", periods=4, freq="h", tz="Europe/Oslo"),
        }
    )
    columns = infer(frame, {}, 9, "t")
    assert [column["type"] for column in columns] == ["boolean", "category", "category", "date"]
    x = encode(frame, columns, "t")
    write_frame(tmp_path / "back.parquet", decode(x, columns))
    back = read_frame(tmp_path / "back.parquet")
    pandas.testing.assert_frame_equal(back, frame, check_dtype=False)
    assert torch.equal(encode_values(["rate=0.1", "year=2024"], columns)[1:3], torch.zeros(2))


@pytest.mark.parametrize("cell", [[1, 2], b"x", datetime.timedelta(1)])
def test_cells_that_are_no_values_are_refused(cell: Any) -> None:
    with pytest.raises(ValueError, match=r"^column a of t has cells of type \w+, neither text .* name it in ignore\.$"):
        infer(pandas.DataFrame({"a": [cell] * 3}), {}, 9, "t")


def test_numbers_that_float32_does_not_tell_apart_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "time,size", *[f"{1_700_000_000 + n},{n / 7:.3f}" for n in range(60)])
    with pytest.raises(ValueError, match=r"column time of .* 60 different numbers, of which float32 tells \d apart"):
        _ = Table(path=path).columns


def test_cells_that_are_filled_in_have_the_type_of_the_others(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    days = pandas.date_range("2021-01-01", periods=4)
    cells = {
        "day": pandas.Series(days),
        "zone": pandas.Series(days + pandas.Timedelta("2h")).dt.tz_localize("Europe/Oslo"),
        "date": pandas.Series(list(days.date)),
        "flag": pandas.Series([True, False, True, False], dtype="boolean"),
        "code": pandas.Series([0.0, 1.0, 0.0, 1.0]),
        "price": pandas.Series([Decimal("0.25"), Decimal("1.50"), Decimal("2.00"), Decimal("3.00")]),
        "word": pandas.Series(["a", "b", "a", "b"]),
    }
    frame = pandas.DataFrame({name: column.where([True, True, True, False]) for name, column in cells.items()})
    write_frame(tmp_path / "gaps.parquet", frame)
    gaps = read_frame(tmp_path / "gaps.parquet")
    columns = infer(gaps, {}, 9, "t")
    made = decode(np.ones((4, 7)), columns)
    filled = {name: like(gaps[name], made[name], gaps[name].isna().to_numpy()) for name in gaps}
    write_frame(tmp_path / "filled.parquet", pandas.DataFrame(filled))
    again = read_frame(tmp_path / "filled.parquet")
    for name, column in cells.items():
        assert type(again[name].iloc[3]) is type(gaps[name].iloc[0]), name
        assert again[name].iloc[0] == column.iloc[0], name
    assert again["zone"].dtype == gaps["zone"].dtype
    assert like(pandas.Series(["2021-01-01", ""]), made["day"][:2], np.array([False, True])).tolist()[1] == "2021-01-02"
    write_frame(tmp_path / "drawn.parquet", made)
    drawn = read_frame(tmp_path / "drawn.parquet")
    assert drawn["day"].iloc[0] == days[1]
    assert drawn["flag"].dtype == bool
    odd = pandas.DataFrame({"odd": [1, "b"]})
    with pytest.raises(ValueError, match=r"odd\.parquet cannot hold this table: .*column odd.*; write a \.csv file"):
        write_frame(tmp_path / "odd.parquet", odd)
