"""Reader of tables of comma-separated numbers."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import numpy as np

_EMPTY = ("", "NA")
"""Fields of missing values."""


def read_csv(
    path: Path, label_column: str | None, id_column: str | None = None, *, missing: bool = False
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Read a table with columns separated by commas, semicolons or tabs; a first line without numbers is the header.

    Args:
        path: The file.
        label_column: Name of the column with the labels, its number in a file without a header, or None.
        id_column: The same for the ids of the rows.
        missing: Whether empty fields are missing values, NaN.

    Returns:
        float32 numbers of the other columns, (N, D); the labels, (N,), or None; the ids, (N,), or None.

    Raises:
        ValueError: If an entry is not a number, with its line; or if there is no such column.
    """
    first, delimiter = _first_line(path)
    label, name = (None if c is None else _column(path, first, c) for c in (label_column, id_column))
    if label is not None and label == name:
        raise ValueError(f"label_column and id_column are both column {label_column} of {path}: give two columns.")
    features = [column for column in range(len(first)) if column not in (label, name)]
    if not features:
        raise ValueError(f"{path} has no column besides the {'labels' if name is None else 'labels and ids'}.")
    named = any(c in first and not c.isdigit() for c in (label_column, id_column) if c is not None)
    has_header = named or not all(_is_number(first[n]) or (missing and first[n] in _EMPTY) for n in features)
    skip = 1 if has_header else 0
    if _num_lines(path) <= skip:
        raise ValueError(f"{path} has no rows of numbers.")
    settings: dict[str, Any] = {"delimiter": delimiter, "skiprows": skip, "quotechar": '"', "comments": None}
    try:
        with path.open(encoding="utf-8-sig") as file:
            read, lines = _number_or_nan if missing else None, _lines(file, delimiter, len(first))
            x = np.loadtxt(lines, dtype=np.float32, usecols=features, ndmin=2, converters=read, **settings)
            texts = [None if c is None else _texts(file, c, settings) for c in (label, name)]
    except ValueError as error:
        of_numpy = str(error).split("\n")[0].split(";")[0].rstrip(".")
        reason = _fault(path, first, features, skip, delimiter, missing) or of_numpy
        after = " after the header" if has_header else ""
        raise ValueError(f"{path} is no table of numbers{after}: {reason}.") from error
    return x, _whole_numbers(texts[0]), _ids(texts[1])


def line_of(path: Path, row: int, num: int) -> int:
    """Number of the line in a file, from 1, on which one of its rows of numbers ends.

    Args:
        path: A file that :func:`read_csv` has read.
        row: The row, from 0, without the header.
        num: Number of rows.
    """
    with path.open(encoding="utf-8-sig") as file:
        lines = [line for line, _ in _numbered(file, _first_line(path)[1])]
    return lines[len(lines) - num + row]


def _lines(file: TextIO, delimiter: str, num: int) -> Iterator[str]:
    """Lines that are not blank.

    Raises:
        ValueError: If one has more fields than the first, which would be left out.
    """
    for number, line in enumerate(file, 1):
        text = line.rstrip().rstrip(delimiter)
        if text.count(delimiter) >= num and '"' not in text:
            raise ValueError(f"line {number} has {text.count(delimiter) + 1} columns, the first line has {num}")
        if line.strip():
            yield line


def _texts(file: TextIO, column: int, settings: dict[str, Any]) -> np.ndarray:
    file.seek(0)
    return np.loadtxt(filter(str.strip, file), dtype=str, usecols=column, ndmin=1, **settings)


def _numbered(file: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Fields of the rows that are not blank, with the numbers of their lines."""
    reader = csv.reader(file, delimiter=delimiter)
    return ((reader.line_num, fields) for fields in reader if any(map(str.strip, fields)) or len(fields) > 1)


def _fault(path: Path, first: list[str], features: list[int], skip: int, delimiter: str, missing: bool) -> str:
    """The first entry that is not a number, or line that is too short, with its line; empty if there is none."""
    with path.open(encoding="utf-8-sig") as file:
        for line, fields in islice(_numbered(file, delimiter), skip, None):
            for column in features:
                if column >= len(fields):
                    return f"line {line} has {len(fields)} columns, the first line has {len(first)}"
                if not _is_number(fields[column]) and not (missing and fields[column].strip() in _EMPTY):
                    named = f" ({first[column]})" if skip else ""
                    hint = "; if it is a missing value, set missing to true" if fields[column].strip() in _EMPTY else ""
                    return f"line {line}, column {column + 1}{named} is {fields[column]!r}{hint}"
    return ""


def _number_or_nan(field: str) -> float:
    return float(field) if field.strip() not in _EMPTY else math.nan


def _first_line(path: Path) -> tuple[list[str], str]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            line = file.readline().rstrip("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file.") from error
    if not line.strip():
        raise ValueError(f"{path} is empty, or its first line is.")
    delimiter = max(",;\t", key=line.count)
    return [field.strip() for field in next(csv.reader([line], delimiter=delimiter))], delimiter


def _num_lines(path: Path) -> int:
    """Number of lines that are not blank, counted up to 2."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return sum(1 for _ in islice(filter(str.strip, file), 2))


def _column(path: Path, first: list[str], name: str) -> int:
    if name in first and not all(map(_is_number, first)):
        return first.index(name)
    if name.isdigit() and int(name) < len(first):
        return int(name)
    raise ValueError(f"{path} has no column {name}: its first line is {', '.join(first[:8])}.")


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _whole_numbers(y: np.ndarray | None) -> np.ndarray | None:
    """Labels as integers if all are, so that 10 is sorted after 9."""
    if y is None:
        return None
    try:
        numbers = y.astype(np.float64)
    except ValueError:
        return y
    return numbers.astype(np.int64) if np.array_equal(numbers, numbers.round()) else y


def _ids(texts: np.ndarray | None) -> np.ndarray | None:
    """Ids as integers if that loses nothing: 007 stays a name."""
    if texts is None:
        return None
    texts = np.char.strip(texts)
    try:
        numbers = texts.astype(np.int64)
    except (ValueError, OverflowError):
        return texts
    return numbers if np.array_equal(numbers.astype(texts.dtype), texts) else texts
