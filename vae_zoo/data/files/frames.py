"""Tables with columns of several kinds: their types, and rows as numbers and back."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Number
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch

from vae_zoo.system.extras import require
from vae_zoo.system.writing import replacing

ColumnType: TypeAlias = Literal["number", "category", "boolean", "count", "date"]
"""Kinds of columns."""

Column: TypeAlias = dict[str, Any]
"""Plain data of a column: ``name``, ``type``, and what its values are called: ``categories`` of a category, the two
``values`` of a boolean, the ``start`` and ``format`` of a date, whether its file has it as ``text`` and otherwise the
``zone`` of its times, the ``digits`` of a number, and of numbers that are categories or booleans."""

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")
"""Texts of missing values."""

KINDS = (".csv", ".tsv", ".parquet")
_PAIRS = ({"true", "false"}, {"yes", "no"}, {"y", "n"}, {"t", "f"}, {"0", "1"})
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?")
_DAY = 86400.0
_GIVEN = "--where"


def read_frame(path: Path) -> Any:
    """The pandas data frame of a file, with the cells of text files as text.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If pandas is missing, or pyarrow for a Parquet file.
        ValueError: If it cannot be read, is empty, or has two columns of one name.
    """
    pandas = require("pandas", "table", "A table")
    if path.suffix not in KINDS:
        raise ValueError(f"{path} must end in {', '.join(KINDS)}.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        if path.suffix == ".parquet":
            require("pyarrow", "table", "A Parquet file")
            frame = pandas.read_parquet(path)
        else:
            settings = {"dtype": str, "keep_default_na": False, "encoding": "utf-8-sig", "skipinitialspace": True}
            frame = pandas.read_csv(path, sep=_delimiter(path), header=None, **settings)
            names = frame.iloc[0].str.strip()
            frame = frame.iloc[1:].reset_index(drop=True).set_axis(names, axis=1)
    except ImportError:
        raise
    except Exception as error:  # besides ParserError and UnicodeDecodeError those of pyarrow
        reason = str(error).strip().split("\n")[0].rstrip(".")
        raise ValueError(f"{path} cannot be read as a table: {reason}.") from error
    frame.columns = [str(name) for name in frame.columns]
    twice = [name for n, name in enumerate(frame.columns) if name in frame.columns[:n]]
    if twice:
        raise ValueError(f"{path} has two columns {twice[0]!r}: rename one.")
    if not len(frame):
        raise ValueError(f"{path} has no rows.")
    return frame


def _delimiter(path: Path) -> str:
    if path.suffix == ".tsv":
        return "\t"
    with path.open(encoding="utf-8-sig") as file:
        line = file.readline()
    return max(",;\t", key=line.count)


def infer(frame: Any, given: Mapping[str, str], most: int, where: str) -> list[Column]:
    """The columns of a frame, with their types.

    Text is a boolean if it has two values such as yes and no, a number or a date (as in 2024-05-31) if all of it is,
    and otherwise a category. So is a number or a date that is the same in every row: it has no density.

    Args:
        frame: The frame.
        given: Types of columns that are not inferred, by name.
        most: Largest number of categories of a column.
        where: Name of the data in errors.

    Raises:
        ValueError: If a column has no value, values of another type or of none of them, or too many categories.
    """
    return [_column(name, frame[name], given.get(name), most, where) for name in frame.columns]


def _column(name: str, series: Any, kind: str | None, most: int, where: str) -> Column:
    _check_cells(name, series, where)
    texts = _texts(series)
    known = texts[~_empty(texts)]
    if not len(known):
        raise ValueError(f"column {name} of {where} has no value: name it in ignore.")
    unique = sorted(set(known))
    kind = kind or _kind(unique)
    column: Column = {"name": name, "type": kind}
    if kind == "boolean":
        if len(unique) > 2:
            raise ValueError(f"column {name} of {where} is no boolean: it has {len(unique)} values, as {unique[2]!r}.")
        pair = next((pair for pair in _PAIRS if {text.lower() for text in unique} <= pair), None)
        column["values"] = unique if len(unique) == 2 or pair is None else _completed(unique[0], pair)
    elif kind == "category":
        if len(unique) > most:
            raise ValueError(
                f"column {name} of {where} has {len(unique)} different values in {len(known)} rows, more than "
                f"max_categories, {most}: name it in ignore or as id_column, or give its type."
            )
        column["categories"] = unique
    if kind == "number":
        _check_precision(name, _numbers(known, column, where, np.flatnonzero(~_empty(texts))), where)
    if kind == "number" or (kind in ("boolean", "category") and series.dtype.kind in "fiu"):
        column["digits"] = _digits(known)
    elif kind == "date":
        times = _seconds(known, column, where, None)
        start = float(np.floor(times.min() / _DAY) * _DAY)
        column["start"] = str(np.datetime64(int(start), "s").astype("datetime64[D]"))
        column["format"] = "%Y-%m-%d" if (times % _DAY == 0).all() else "%Y-%m-%dT%H:%M:%S"
        column["text"] = not _is_time(series)
        column["zone"] = str(series.dt.tz) if _is_time(series) and series.dt.tz is not None else None
    return column


def _check_precision(name: str, values: np.ndarray, where: str) -> None:
    """Refuse numbers that are far from 0 and close to each other, of which a model in float32 sees a few only."""
    num, seen = (len(np.unique(x)) for x in (values, values.astype(np.float32)))
    if seen < 0.9 * num:
        raise ValueError(
            f"column {name} of {where} has {num} different numbers, of which float32 tells {seen} apart: subtract a "
            f"constant such as {values.min():.17g} from them, or name it in ignore."
        )


def _check_cells(name: str, series: Any, where: str) -> None:
    for kind in {type(value) for value in series.dropna()}:
        if not issubclass(kind, (str, bool, np.bool_, Number, datetime.date)):
            raise ValueError(
                f"column {name} of {where} has cells of type {kind.__name__}, neither text nor numbers nor dates: "
                "name it in ignore."
            )


def _kind(unique: Sequence[str]) -> str:
    if any({text.lower() for text in unique} <= pair for pair in _PAIRS) and len(unique) <= 2:
        return "boolean"
    if len(unique) == 1:
        return "category"
    if all(map(_is_number, unique)):
        return "number"
    return "date" if all(map(_DATE.fullmatch, unique)) else "category"


def _completed(text: str, pair: set[str]) -> list[str]:
    """Both values of a boolean of which only one occurs, in its spelling."""
    other = next(value for value in sorted(pair) if value != text.lower())
    spelled = other.upper() if text.isupper() and len(text) > 1 else other.title() if text.istitle() else other
    return sorted([text, spelled], key=str.lower)


def _texts(series: Any) -> np.ndarray:
    """Cells as text, in an array of objects; missing ones are empty."""
    kind = series.dtype.kind if hasattr(series.dtype, "kind") else "O"
    gone = series.isna().to_numpy(bool)
    if kind == "M":
        series = series.dt.strftime("%Y-%m-%dT%H:%M:%S").str.removesuffix("T00:00:00")
    elif kind == "f":
        series = series.map(lambda value: repr(float(value)).removesuffix(".0"), na_action="ignore")
    texts = series.astype(object).map(lambda value: str(value).strip(), na_action="ignore").to_numpy(object)
    texts[gone] = ""
    return texts


def _empty(texts: np.ndarray) -> np.ndarray:
    return np.isin(texts.astype(str), MISSING)


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text))) and "_" not in text
    except ValueError:
        return False


def _digits(texts: np.ndarray) -> int | None:
    """Largest number of decimals but final zeros, as in 31.0, or None for numbers of many or with exponents."""
    if any("e" in text.lower() for text in texts):
        return None
    most = max(len(text.partition(".")[2].rstrip("0")) for text in texts)
    return most if most <= 6 else None


def encode(frame: Any, columns: Sequence[Column], where: str, *, unknown: str | None = None) -> np.ndarray:
    """Rows of a frame as numbers, (N, D), in which NaN is missing.

    Args:
        frame: The frame; columns that are not among those given are left out.
        columns: The columns, as inferred from the training table.
        where: Name of the data in errors.
        unknown: The option of that name: "refuse" or, to read unknown categories as missing, "missing". None refuses
            them too, where there is no such option.

    Raises:
        ValueError: If a column is missing, or a value is not of its column's type, with the column and the row.
    """
    lost = [column["name"] for column in columns if column["name"] not in frame.columns]
    if lost:
        raise ValueError(f"{where} has no column {lost[0]}, which the training table has.")
    made = [_encoded(_texts(frame[column["name"]]), column, where, unknown) for column in columns]
    return np.stack(made, 1).astype(np.float32)


def extended(columns: Sequence[Column], frame: Any) -> list[Column]:
    """The columns with further categories at their end: those that only a frame has."""
    made = []
    for column in map(dict, columns):
        if column["type"] == "category" and column["name"] in frame.columns:
            texts = _texts(frame[column["name"]])
            column["categories"] = [
                *column["categories"],
                *sorted(set(texts[~_empty(texts)]) - {*column["categories"]}),
            ]
        made.append(column)
    return made


def _encoded(texts: np.ndarray, column: Column, where: str, unknown: str | None) -> np.ndarray:
    values, known = np.full(len(texts), np.nan), ~_empty(texts)
    rows, cells = np.flatnonzero(known), texts[known]
    if not len(cells):
        return values
    kind = column["type"]
    if kind in ("category", "boolean"):
        names = column["categories" if kind == "category" else "values"]
        codes = {text: float(code) for code, text in enumerate(names)}
        if kind == "boolean":
            codes = {text.lower(): code for text, code in codes.items()} | codes
        found = np.array(
            [codes.get(text, codes.get(text.lower() if kind == "boolean" else text, -1.0)) for text in cells]
        )
        if (found < 0).any() and (unknown != "missing" or kind == "boolean"):
            place = int(np.flatnonzero(found < 0)[0])
            shown = ", ".join(map(str, names[:8])) + (", …" if len(names) > 8 else "")
            hint = "; set unknown to missing to read it as missing" if kind == "category" and unknown else ""
            raise ValueError(
                f"{column['name']}{_at(rows[place], where)} is {cells[place]!r}, which is none of the training table's "
                f"values {shown}{hint}."
            )
        values[known] = np.where(found < 0, np.nan, found)
    elif kind == "date":
        start = np.datetime64(column["start"], "s").astype(float)
        values[known] = (_seconds(cells, column, where, rows) - start) / _DAY
    else:
        values[known] = _numbers(cells, column, where, rows)
    return values


def _at(row: int, where: str) -> str:
    return f" in {where}" if where == _GIVEN else f" in row {row} of {where}"


def _numbers(cells: np.ndarray, column: Column, where: str, rows: np.ndarray) -> np.ndarray:
    count = column["type"] == "count"
    try:
        values = cells.astype(float)
        wrong = ~(np.abs(values) <= np.finfo(np.float32).max)
        wrong |= count & ((values < 0) | (values != np.round(values)))
    except ValueError:
        wrong = np.array([not _is_number(text) for text in cells])
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        wanted = "a whole number from 0" if count else "a number"
        raise ValueError(f"{column['name']}{_at(rows[place], where)} must be {wanted}, got {cells[place]!r}.")
    return values


def _seconds(cells: np.ndarray, column: Column, where: str, rows: np.ndarray | None) -> np.ndarray:
    pandas = require("pandas", "table", "A table")
    times = pandas.to_datetime(pandas.Series(cells), format="ISO8601", errors="coerce", utc=True)
    if times.isna().any():
        place = int(np.flatnonzero(times.isna())[0])
        at = _at(rows[place], where) if rows is not None else f" of {where}"
        raise ValueError(f"{column['name']}{at} must be a date as in 2024-05-31, got {cells[place]!r}.")
    found: np.ndarray = times.dt.tz_localize(None).to_numpy("datetime64[s]").astype(float)
    return found


def encode_values(given: Sequence[str], columns: Sequence[Column]) -> torch.Tensor:
    """Some values of a row, given as ``column=value``, with NaN for the others, (D,).

    Raises:
        ValueError: If there is no such column, or a value is not of its type.
    """
    row, names = torch.full((len(columns),), torch.nan), [column["name"] for column in columns]
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in names:
            raise ValueError(f"--where needs COLUMN=VALUE with one of {', '.join(names[:12])}, got {text}.")
        place = names.index(name)
        row[place] = float(_encoded(np.array([value.strip()], dtype=object), columns[place], _GIVEN, None)[0])
    return row


def decode(x: np.ndarray, columns: Sequence[Column]) -> Any:
    """A frame of rows of numbers (N, D), with the names, types and categories of a table; NaN becomes missing."""
    pandas = require("pandas", "table", "A table")
    return pandas.DataFrame(
        {column["name"]: _decoded(values, column) for values, column in zip(x.T, columns, strict=True)}
    )


def _decoded(values: np.ndarray, column: Column) -> Any:
    pandas = require("pandas", "table", "A table")
    known, kind, values = np.isfinite(values), column["type"], values.astype(float)
    if kind in ("category", "boolean"):
        names = column["categories" if kind == "category" else "values"]
        codes = np.where(known, values, 0).round().clip(0, len(names) - 1).astype(int)
        texts = np.array(names, dtype=object)[codes]
        texts[~known] = None
        if names == ["False", "True"]:
            return pandas.Series([text and text == "True" for text in texts], dtype="bool" if known.all() else object)
        if "digits" in column:
            return pandas.Series(texts.astype(float)).astype("Int64" if column["digits"] == 0 else float)
        return pandas.Series(texts, dtype="category" if kind == "category" else object)
    if kind == "date":
        start = np.datetime64(column["start"], "s")
        unit = _DAY if "H" not in column["format"] else 1.0
        seconds = np.where(known, (values * _DAY / unit).round() * unit, 0).clip(-6e10, 2e11)
        times = pandas.Series(start + seconds.astype("timedelta64[s]"))
        if not column.get("text", True):
            times = times.where(known)
            zone = column.get("zone")
            return times.dt.tz_localize(zone, ambiguous=np.ones(len(times), bool), nonexistent="shift_forward")
        texts = times.dt.strftime(column["format"]).astype(object)
        texts[~known] = None
        return texts
    digits = 0 if kind == "count" else column.get("digits")
    if digits == 0:
        whole = np.where(known, values, 0).round().clip(0 if kind == "count" else -(2.0**62), 2.0**62)
        series = pandas.Series(whole.astype("int64")).astype("Int64")
        series[~known] = pandas.NA
        return series
    rounded = values if digits is None else values.round(digits)
    return pandas.Series([float(f"{value:.7g}") if digits is None else value for value in rounded])


def like(series: Any, made: Any, where: np.ndarray) -> Any:
    """A column of a frame with some cells replaced by those that :func:`decode` has made, in the column's type."""
    pandas = require("pandas", "table", "A table")
    values, known = series.astype(object).to_numpy(object, copy=True), series.dropna()
    cells = made.astype(object).to_numpy(object)[where]
    values[where] = [_like(known.iloc[0], cell) for cell in cells] if len(known) else cells
    filled = pandas.Series(values, index=series.index)
    return filled.astype(series.dtype) if _is_time(series) else filled.infer_objects()


def _like(known: Any, cell: Any) -> Any:
    """A cell in the type of a known one."""
    pandas = require("pandas", "table", "A table")
    if isinstance(known, str):
        return str(cell).removesuffix(" 00:00:00")
    if isinstance(known, (bool, np.bool_)):
        return str(cell).lower() == "true"
    if isinstance(known, pandas.Timestamp):
        time = pandas.Timestamp(cell).tz_localize(None)
        return time if known.tz is None else time.tz_localize(known.tz, ambiguous=True, nonexistent="shift_forward")
    if isinstance(known, datetime.date):
        return pandas.Timestamp(cell).date()
    if isinstance(known, Decimal):
        return Decimal(str(cell))
    return pandas.to_numeric(cell) if isinstance(cell, str) and isinstance(known, Number) else cell


def _is_time(series: Any) -> bool:
    """Whether cells are stored as times, not as text."""
    return getattr(series.dtype, "kind", "O") == "M"


def write_frame(path: Path, frame: Any) -> None:
    """Write a frame to a .csv, .tsv or .parquet file.

    Raises:
        ImportError: If pyarrow is missing for a Parquet file.
        ValueError: If a column has cells of types that Parquet does not hold together.
        WriteError: If it cannot be written.
    """
    if path.suffix == ".parquet":
        arrow = require("pyarrow", "table", "A Parquet file")
    with replacing(path) as part:
        if path.suffix == ".parquet":
            try:
                frame.to_parquet(part, index=False)
            except (arrow.ArrowInvalid, arrow.ArrowTypeError, arrow.ArrowNotImplementedError) as error:
                raise ValueError(f"{path} cannot hold this table: {error.args[-1]}; write a .csv file.") from error
        else:
            frame.to_csv(part, index=False, sep="\t" if path.suffix == ".tsv" else ",")


def check_types(types: Mapping[str, str], option: str = "columns.") -> None:
    """Refuse unknown types of columns.

    Args:
        types: Types by names of columns.
        option: What the message begins with, before the name.

    Raises:
        ValueError: With the choices and what came.
    """
    for name, kind in types.items():
        if kind not in get_args(ColumnType):
            raise ValueError(f"{option}{name} must be one of {', '.join(get_args(ColumnType))}, got {kind!r}.")
