"""Readers that refuse as little as possible."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np

from vae_zoo.data.base.splits import SPLITS
from vae_zoo.data.files.array_files import read_table
from vae_zoo.data.files.count_files import read_counts
from vae_zoo.data.files.frames import KINDS, MISSING, read_frame
from vae_zoo.data.files.image_files import FORMATS, IMAGE_ENDINGS, list_images
from vae_zoo.evaluation.diagnosis.data.source import Column, Picture, Source

ARRAYS, COUNTS = (".npy", ".npz", ".pt"), (".mtx", ".mtx.gz", ".h5ad")
MOST, PICTURES = 20_000, 2000
"""Largest number of examples, and of image files, that are looked at."""
_THUMB = 16
_DATE = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?"


def read_source(
    path: str | Path,
    test: str | Path | None = None,
    *,
    label_column: str | None = None,
    id_column: str | None = None,
    transpose: bool = False,
    layout: str | None = None,
    seed: int = 0,
) -> Source:
    """Read a file or a folder of images.

    Args:
        path: A .csv, .tsv, .parquet, .npy, .npz, .pt, .mtx, .mtx.gz or .h5ad file, or a folder of images.
        test: File of the test split; a folder of images has it in its subfolder ``test``.
        label_column: Column of a table with the labels, or of ``obs`` of an .h5ad file.
        id_column: Column of a table with ids.
        transpose: Whether rows of a file of counts are features.
        layout: What the axes of arrays mean, see :class:`~vae_zoo.data.Arrays`: vector, sequence, image or volume.
        seed: Seed of the choice of examples, if there are very many.

    Raises:
        ValueError: If it cannot be read at all.
        FileNotFoundError: If there is nothing there.
    """
    path = Path(path)
    given = {"label_column": label_column, "id_column": id_column, "transpose": "true" if transpose else None}
    given["layout"] = layout
    settings = {name: value for name, value in given.items() if value is not None}
    if path.is_dir():
        if test is not None or settings:
            raise ValueError(
                "a folder of images has its splits and classes in subfolders: leave --test and others out."
            )
        return _read_folder(path, seed)
    found = _read_file(path, settings, seed)
    if test is not None:
        found.test = _read_file(Path(test), settings, seed, like=found)
        shapes = [source.x.shape[1:] for source in (found, found.test)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"examples in {test} have the shape {shapes[1]}, those in {path} {shapes[0]}.")
    return found


def _read_file(path: Path, settings: dict[str, str], seed: int, like: Source | None = None) -> Source:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    if path.suffix in KINDS and not _headless(path):
        return _read_frame(path, settings, seed, like)
    label = settings.get("label_column")
    if path.name.endswith(COUNTS) or (path.suffix == ".npz" and _is_sparse(path)):
        table = read_counts(path, label_key=label, transpose="transpose" in settings)
        rows = _chosen(table.x.shape[0], seed)
        dense = np.asarray(table.x[rows].toarray(), np.float64)
        names = [str(n) for n in (range(dense.shape[1]) if table.features is None else table.features)]
        source = Source(path, "counts", dense, table.x.shape[0], settings=settings)
        source.columns = [Column(name, "number", 0) for name in names]
        return _keyed(source, None if table.y is None else table.y[rows])
    if path.suffix not in (*ARRAYS, ".csv"):
        endings = ", ".join((*KINDS, *ARRAYS, *COUNTS))
        raise ValueError(f"{path} must be a checkpoint, a folder of images, or a file ending in {endings}.")
    given = (
        {"label_column": label, "id_column": settings.get("id_column")}
        if path.suffix == ".csv"
        else {"label_column": None}
    )
    layout: Any = settings.get("layout")
    array = read_table(path, key=None, label_key=None, channels_last=None, missing=True, layout=layout, **given)
    rows = _chosen(len(array.x), seed)
    x = np.asarray(array.x[rows])
    y = None if array.y is None else array.y[rows]
    if x.ndim > 2:
        return _keyed(Source(path, "images", x, len(array.x), settings=settings), y)
    source = Source(path, "vectors", x.astype(np.float64), len(array.x), settings=settings)
    source.columns = [Column(str(n), "number", len(np.unique(column))) for n, column in enumerate(source.x.T)]
    return _keyed(source, y)


def _chosen(num: int, seed: int, most: int = MOST) -> np.ndarray:
    if num == 0:
        raise ValueError("there are no examples.")
    return np.sort(np.random.default_rng(seed).permutation(num)[:most])


def _headless(path: Path) -> bool:
    """Whether the first line of a .csv file is numbers, as in one without names of columns."""
    if path.suffix != ".csv":
        return False
    try:
        with path.open(encoding="utf-8-sig") as file:
            fields = file.readline().replace(";", ",").replace("\t", ",").split(",")
            return all(float(field) == float(field) for field in fields)
    except ValueError:
        return False


def _is_sparse(path: Path) -> bool:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            return {"format", "shape", "data"} <= set(content.files)
    except Exception:  # of a damaged file, about which the reader of arrays has a line
        return False


def _keyed(source: Source, y: np.ndarray | None = None) -> Source:
    rows = np.ascontiguousarray(source.x)
    hashes = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in rows]
    source.keys, source.y = np.frombuffer(b"".join(hashes), np.int64), y
    return source


def _read_frame(path: Path, settings: dict[str, str], seed: int, like: Source | None) -> Source:
    frame = read_frame(path)
    for option in ("label_column", "id_column"):
        if settings.get(option, frame.columns[0]) not in frame.columns:
            raise ValueError(
                f"--{option}: {path} has no column {settings[option]}, but {', '.join(frame.columns[:12])}."
            )
    num = len(frame)
    frame = frame.iloc[_chosen(num, seed)]
    label = settings.get("label_column")
    y = None if label is None else frame[label].astype(str).to_numpy(str)
    frame = frame.drop(columns=list({settings.get("label_column"), settings.get("id_column")} - {None}))
    if like is not None:
        lost = [column.name for column in like.columns if column.name not in frame.columns]
        if lost:
            raise ValueError(f"{path} has no column {lost[0]}, which {like.path} has.")
        frame = frame[[column.name for column in like.columns]]
    values, columns = zip(*(_column(name, frame[name]) for name in frame.columns), strict=True)
    plain = path.suffix == ".csv" and all(column.type == "number" for column in columns)
    source = Source(path, "vectors" if plain else "table", np.stack(values, 1), num, settings=settings)
    source.columns = list(columns)
    return _keyed(source, y)


def _column(name: str, series: Any) -> tuple[np.ndarray, Column]:
    """A column as numbers: NaN for missing cells, text by the hash of its value, dates in days."""
    import pandas

    if series.dtype.kind in "fiub":
        values = series.to_numpy(np.float64)
        return values, Column(name, "number", len(np.unique(values[~np.isnan(values)])))
    if series.dtype.kind == "M":
        return _days(series), Column(name, "date", series.nunique())
    texts = series.astype(object).map(lambda cell: str(cell).strip(), na_action="ignore")
    texts = texts.where(~texts.isin(MISSING), None)
    known = texts.dropna()
    numbers = pandas.to_numeric(known, errors="coerce")
    if not numbers.isna().any():
        values = np.full(len(texts), np.nan)
        values[texts.notna().to_numpy()] = numbers.to_numpy(np.float64)
        return values, Column(name, "number", numbers.nunique())
    if len(known) and known.astype(str).str.fullmatch(_DATE).all():
        return _days(pandas.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)), Column(
            name, "date", known.nunique()
        )
    codes = {text: float(n) for n, text in enumerate(sorted(set(known)))}
    stable = {
        text: float(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")) for text in codes
    }
    return texts.map(stable).to_numpy(np.float64), Column(name, "text", len(codes))


def _days(times: Any) -> np.ndarray:
    if getattr(times.dt, "tz", None) is not None:
        times = times.dt.tz_localize(None)
    seconds = times.to_numpy("datetime64[s]")
    return np.where(np.isnat(seconds), np.nan, seconds.astype(np.int64) / 86400.0)


def _read_folder(folder: Path, seed: int) -> Source:
    subfolders = {entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")}
    if "train" in subfolders and subfolders <= set(SPLITS):
        found = _read_images(folder / "train", folder, seed)
        if "test" in subfolders:
            found.test = _read_images(folder / "test", folder, seed)
        return found
    return _read_images(folder, folder, seed)


def _read_images(folder: Path, root: Path, seed: int) -> Source:
    paths = list_images(folder)
    if not paths:
        endings = ", ".join(IMAGE_ENDINGS)
        raise FileNotFoundError(f"There are no images in {folder}: files ending in {endings} count.")
    chosen = [paths[n] for n in _chosen(len(paths), seed, PICTURES)]
    pictures, thumbs, keys = [], [], []
    for path in chosen:
        picture, thumb = _look(Path(path), str(Path(path).relative_to(root)))
        pictures.append(picture)
        if not picture.error:
            thumbs.append(thumb)
            keys.append(hashlib.blake2b(Path(path).read_bytes(), digest_size=8).digest())
    x = np.stack(thumbs) if thumbs else np.zeros((0, 3, _THUMB, _THUMB), np.uint8)
    source = Source(root, "folder", x, len(paths), pictures=pictures)
    source.keys = np.frombuffer(b"".join(keys), np.int64)
    parts = [path[len(str(folder)) + 1 :].split(os.sep) for path in chosen]
    if all(len(part) > 1 for part in parts):
        source.y = np.array([part[0] for part in parts])
    return source


def _look(path: Path, name: str) -> tuple[Picture, np.ndarray]:
    """What an image file is, and a thumbnail of it, (3, 16, 16)."""
    from PIL import Image

    if not path.is_file():  # a pipe would be waited for
        return Picture(name, error="no file"), np.zeros(0)
    try:
        with Image.open(path, formats=FORMATS) as file:
            file.load()
            alpha = np.asarray(file.convert("RGBA"))[..., 3] if file.has_transparency_data else np.full((1, 1), 255)
            pixels = np.asarray(file.convert("RGB"))
            small = np.asarray(file.convert("RGB").resize((_THUMB, _THUMB))).transpose(2, 0, 1)
            grey = bool((pixels == pixels[..., :1]).all())
            blank = bool((pixels == pixels[0, 0]).all())
            colour = file.mode not in ("1", "L", "LA", "I", "F", "I;16")
            return Picture(name, file.size, bool(alpha.min() < 255), grey, colour, blank), small
    except Exception as error:  # the decoders of damaged files raise nearly anything
        return Picture(name, error=str(error).split("\n")[0] or type(error).__name__), np.zeros(0)
