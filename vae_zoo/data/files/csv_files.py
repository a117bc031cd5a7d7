"""Reader of tables of comma-separated numbers."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np


def read_csv(path: Path, label_column: str | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Read a table with columns separated by commas, semicolons or tabs; a first line without numbers is the header.

    Args:
        path: The file.
        label_column: Name of the column with the labels, its number in a file without a header, or None.

    Returns:
        float32 numbers of the other columns, (N, D), and the labels, (N,), or None.

    Raises:
        ValueError: If an entry is not a number, or there is no such column.
    """
    first, delimiter = _first_line(path)
    label = None if label_column is None else _column(path, first, label_column)
    features = [column for column in range(len(first)) if column != label]
    if not features:
        raise ValueError(f"{path} has no column besides the labels.")
    has_header = not all(_is_number(first[column]) for column in features)
    skip = 1 if has_header else 0
    if _num_lines(path) <= skip:
        raise ValueError(f"{path} has no rows of numbers.")
    settings: dict[str, Any] = {"delimiter": delimiter, "skiprows": skip, "quotechar": '"', "comments": None}
    try:
        with path.open(encoding="utf-8-sig") as file:
            x = np.loadtxt(filter(str.strip, file), dtype=np.float32, usecols=features, ndmin=2, **settings)
            file.seek(0)
            y = (
                None
                if label is None
                else np.loadtxt(filter(str.strip, file), dtype=str, usecols=label, ndmin=1, **settings)
            )
    except ValueError as error:
        reason = str(error).split("\n")[0].split(";")[0].rstrip(".")
        after = " after the header" if has_header else ""
        raise ValueError(f"{path} is no table of numbers{after}: {reason}.") from error
    return x, _whole_numbers(y)


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
