"""Readers of texts: a line each, or a column of a table."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from vae_zoo.security.limits import check_gzip

TABLES = {".csv": ",", ".tsv": "\t"}


class Texts(NamedTuple):
    """Texts of one file.

    Args:
        x: The texts, (N,).
        y: Their labels, (N,), or None.
        ids: Their ids, (N,), or None.
        lines: Line of each in the file, from 1, (N,).
    """

    x: np.ndarray
    y: np.ndarray | None
    ids: np.ndarray | None
    lines: np.ndarray


def read_texts(
    path: Path, column: str | None = None, label_column: str | None = None, id_column: str | None = None
) -> Texts:
    """Read a file of texts, a ``.csv`` or ``.tsv`` file with a header or any other with a text a line.

    Files may be compressed, ending in ``.gz``. Empty lines are left out.

    Args:
        path: The file.
        column: Column of the texts; None for the only one besides labels and ids.
        label_column: Column of the labels.
        id_column: Column of the ids.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no text in UTF-8, has no such column, or holds no text.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    columns = {"column": column, "label_column": label_column, "id_column": id_column}
    try:
        with _opened(path) as file:
            if suffix in TABLES:
                rows = list(_rows(path, file, TABLES[suffix], columns))
            else:
                if given := [name for name, value in columns.items() if value is not None]:
                    raise ValueError(f"{given[0]}: {path} is no .csv or .tsv file, but one of a text a line.")
                lines = ((number, line.rstrip("\r\n")) for number, line in enumerate(file, 1))
                rows = [(number, line, None, None) for number, line in lines if line.strip()]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text in UTF-8: {error.reason} at byte {error.start}.") from error
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise ValueError(f"{path} is truncated or no .gz file.") from error
    if not rows:
        raise ValueError(f"{path} holds no text.")
    numbers, texts, labels, ids = zip(*rows, strict=True)
    return Texts(
        np.array(texts, dtype=object),
        None if label_column is None else np.array(labels),
        None if id_column is None else np.array(ids),
        np.array(numbers),
    )


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        check_gzip(path)
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _rows(path: Path, file: IO[str], delimiter: str, columns: dict[str, str | None]) -> Iterator[tuple[Any, ...]]:
    """Line, text, label and id of each row with a text."""
    reader = csv.reader(file, delimiter=delimiter)
    head = next(reader, [])
    for option, name in columns.items():
        if name is not None and name not in head:
            raise ValueError(f"{option}: {path} has no column {name}, but {', '.join(head[:12]) or 'none'}.")
    left = [name for name in head if name not in columns.values()]
    if columns["column"] is None and len(left) != 1:
        raise ValueError(f"{path} has the columns {', '.join(head[:12]) or 'none'}: name that of the texts as column.")
    names = [columns["column"] or left[0], columns["label_column"], columns["id_column"]]
    places = [None if name is None else head.index(name) for name in names]
    for row in reader:
        if not row:
            continue
        if len(row) != len(head):
            raise ValueError(f"{path}, line {reader.line_num}: {len(row)} fields instead of {len(head)}.")
        text, label, name = (None if place is None else row[place] for place in places)
        if text and text.strip():
            yield reader.line_num, text, label, name
