"""A picture of latents in the plane."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import torch

from vae_zoo.callbacks.pictures.labelled import Picture
from vae_zoo.callbacks.pictures.themes import (
    COLOURS,
    MARKERS,
    SEQUENTIAL,
    WHITE,
    Look,
    Theme,
    paint,
    paint_bar,
    paint_legend,
)
from vae_zoo.callbacks.predicting.identity import Identity
from vae_zoo.callbacks.predicting.results import write_columns
from vae_zoo.callbacks.predicting.rows import MergedRows
from vae_zoo.callbacks.predicting.tables import TableKind
from vae_zoo.system.extras import require

EmbeddingKind: TypeAlias = Literal["none", "auto", "pca", "umap"]

MOST = 20_000
"""Largest number of examples in a picture; of more, evenly spaced ones."""

_LONGEST = 24


class Embedded(NamedTuple):
    """Points in the plane.

    Args:
        points: Their coordinates, (N, 2).
        axes: What the two axes are.
        method: Name of the method.
    """

    points: np.ndarray
    axes: tuple[str, str]
    method: str


def check_embedding(kind: str) -> None:
    """Refuse an unknown method, or one that is not installed.

    Raises:
        ValueError: If it is unknown.
        ImportError: If it is UMAP and not installed.
    """
    if kind not in get_args(EmbeddingKind):
        raise ValueError(f"embedding must be none, auto, pca or umap, got {kind!r}.")
    if kind == "umap" and find_spec("umap") is None:
        raise ImportError("embedding umap needs umap: pip install 'vae_zoo[umap]', or choose pca.")


def write_embedding(
    rows: MergedRows,
    identity: Identity,
    path: Path,
    kind: EmbeddingKind,
    table: TableKind,
    look: Look,
    classes: Sequence[Any] | None,
) -> list[Path]:
    """Write coordinates of the latents in the plane, and a picture of them.

    Args:
        rows: Rows with a column ``z``; ``y`` or else ``cluster`` colours the points.
        identity: Rows and ids of the examples.
        path: The file of arrays; table and picture are beside it.
        kind: The method.
        table: Kind of table.
        look: Labels or none, format and colours of the picture.
        classes: Names of the classes, by their labels.

    Returns:
        The files; none if there are fewer than 3 rows.
    """
    kept = np.unique(np.linspace(0, len(rows) - 1, min(MOST, len(rows))).round().astype(int))
    if len(kept) < 3:  # as few if batches were left out
        return []
    names = [name for name in ("y", "cluster") if name in rows.layout and not rows.layout[name][1]][:1]
    kinds: dict[str, np.ndarray] = {name: rows.pick(name, kept) for name in names}
    found = embed(rows.pick("z", kept), kind)
    known = {**identity.columns(rows.positions[kept]), "embedding": found.points.astype(np.float32)}
    arrays, *tabulated = write_columns(path, {**known, **kinds}, table)
    picture = path.with_suffix(f".{look.format}")
    title = None if look.labels else ""
    y, classes = next(iter(kinds.values()), None), classes if "y" in kinds else None
    draw(picture, found, y, classes, title=title, theme=look.colours)
    return [arrays, picture, *tabulated]


def embed(z: np.ndarray, kind: EmbeddingKind) -> Embedded:
    """Latents in the plane.

    Args:
        z: Latents, (N, D), of at least 3 examples.
        kind: "pca" for the first two principal components, "umap", or "auto" for UMAP if it is installed and there are
            more than two dimensions, and PCA otherwise.
    """
    z = z.reshape(len(z), -1).astype(np.float64)
    if kind == "umap" or (kind == "auto" and z.shape[1] > 2 and find_spec("umap") is not None):
        return _umap(z)
    return _pca(z)


def _pca(z: np.ndarray) -> Embedded:
    from sklearn.decomposition import PCA

    num = min(2, z.shape[1])
    points, share = np.zeros((len(z), 2)), np.zeros(2)
    if z.std() > 0:
        fitted = PCA(num, random_state=0).fit(z)
        points[:, :num], share[:num] = fitted.transform(z), fitted.explained_variance_ratio_
    first, second = (f"principal component {n + 1} ({part:.0%} of the variance)" for n, part in enumerate(share))
    return Embedded(points, (first, second if num == 2 else "no second dimension"), "PCA")


def _umap(z: np.ndarray) -> Embedded:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it would have with other packages, and of few examples
        umap = require("umap", "umap", "embedding umap")
        neighbours = min(15, len(z) - 1)
        start = "spectral" if len(z) > 50 else "random"
        threads = torch.get_num_threads()
        points = umap.UMAP(n_neighbors=neighbours, init=start, random_state=0, n_jobs=1).fit_transform(z)
        torch.set_num_threads(threads)  # numba sets those of every library, and fits would no longer be repeatable
    return Embedded(np.asarray(points, np.float64), ("UMAP 1", "UMAP 2"), "UMAP")


def draw(
    path: Path,
    embedded: Embedded,
    y: np.ndarray | None,
    names: Sequence[Any] | None = None,
    *,
    title: str | None = None,
    theme: Theme = WHITE,
) -> None:
    """Write a scatter plot, with a colour and marker for each class and a legend.

    Args:
        path: The file, ending in .png, .svg or .pdf.
        embedded: The points.
        y: Label of each point, (N,), −1 where it is unknown; or None.
        names: Names of the classes, by their labels.
        title: Title; by default the number of examples and the method.
        theme: Colours of background and text.

    Raises:
        WriteError: If it cannot be written.
    """
    from matplotlib.figure import Figure

    (first, second), kinds = embedded.points.T, [] if y is None else np.unique(y).tolist()
    legends = [_named(kind, names) for kind in kinds] if 1 < len(kinds) <= len(COLOURS) * len(MARKERS) else []
    columns = -(-len(legends) // 24)
    width = 6.2 + columns * (0.5 + 0.08 * max(map(len, legends), default=0))  # the legend is beside the plot
    figure = Figure(figsize=(width, 5.6), dpi=120, layout="constrained", facecolor=theme.background)
    axes = figure.add_subplot()
    axes.set_xlabel(embedded.axes[0])
    axes.set_ylabel(embedded.axes[1])
    axes.set_title(f"latents of {len(first)} examples, {embedded.method}" if title is None else title, fontsize=11)
    paint(axes, theme)
    size = float(np.clip(15000 / len(first), 5, 36))
    if y is None or len(kinds) < 2:
        axes.scatter(first, second, s=size, color=COLOURS[0], linewidths=0, alpha=0.7)
    elif legends:
        _scatter_classes(axes, embedded.points, y, legends, size, theme)
        beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "ncols": columns, "fontsize": 9}
        legend = axes.legend(frameon=False, handletextpad=0.2, columnspacing=1, **beside)
        for handle in legend.legend_handles:
            handle.set_sizes([30])  # type: ignore[union-attr]
            handle.set_alpha(1)  # type: ignore[union-attr]
        paint_legend(legend, theme)
    else:
        order = np.random.default_rng(0).permutation(len(y))  # else the last classes would hide the others
        points = axes.scatter(first[order], second[order], s=size, c=y[order], cmap=SEQUENTIAL, linewidths=0)
        paint_bar(figure.colorbar(points, label="label"), theme)
    Picture(figure).save(path)


def _scatter_classes(
    axes: Any, points: np.ndarray, y: np.ndarray, names: Sequence[str], size: float, theme: Theme
) -> None:
    """Points of each class with a colour and marker of its own, 48 pairs of them; grey where the class is unknown."""
    for number, (kind, name) in enumerate(zip(np.unique(y).tolist(), names, strict=True)):
        marker = MARKERS[(number + 5 * (number // 8)) % 6]  # each of the 48 pairs once, neighbours with both unlike
        colour, marker = (theme.faint, "o") if kind < 0 else (theme.colour(number), marker)
        x, z = points[y == kind].T
        axes.scatter(x, z, s=size, color=colour, marker=marker, linewidths=0, alpha=0.8, label=name)


def _named(kind: int, names: Sequence[Any] | None) -> str:
    if kind < 0:
        return "unknown"
    text = str(names[kind]) if names and kind < len(names) else str(kind)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
