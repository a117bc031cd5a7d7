"""Parallel-coordinates plot of the runs of a sweep, coloured by the metric."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from vae_zoo.system.writing import replacing

_MOST_TICKS = 8


class Axis(NamedTuple):
    """One parameter.

    Args:
        name: Its name.
        heights: Where each run crosses it, 0 to 1; NaN where a run does not have it.
        ticks: Heights of the marks, and what is written beside them.
    """

    name: str
    heights: list[float]
    ticks: list[tuple[float, str]]


def draw(path: Path, runs: Sequence[dict[str, Any]], values: Sequence[float], metric: str) -> Path | None:
    """Write the figure; None if no parameter differs.

    Args:
        path: File of the picture.
        runs: Parameters of each run.
        values: The metric of each run, NaN where it has none: such a run is grey.
        metric: Its name.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    names = dict.fromkeys(name for run in runs for name in run)
    axes = [axis_of(name, [run.get(name) for run in runs]) for name in names]
    axes = [axis for axis in axes if len(axis.ticks) > 1]
    finite = [value for value in values if math.isfinite(value)]
    if not axes or not finite:
        return None
    axes.append(axis_of(metric, [value if math.isfinite(value) else None for value in values], exact=False))
    rows = max(len(axis.ticks) for axis in axes)
    figure = Figure(figsize=(2 + 1.9 * len(axes), max(4.5, 0.36 * rows)), dpi=110, layout="constrained")
    plot = figure.add_subplot()
    colour = ScalarMappable(Normalize(min(finite), max(finite)), "viridis")
    for n in sorted(range(len(runs)), key=lambda n: (math.isfinite(values[n]), values[n])):
        known = math.isfinite(values[n])
        style = (
            {"color": colour.cmap((values[n] - min(finite)) / (max(finite) - min(finite) or 1))}
            if known
            else {"color": "0.7", "linestyle": ":"}
        )
        plot.plot([axis.heights[n] for axis in axes], linewidth=1.6, alpha=0.85, **style)
    for place, axis in enumerate(axes):
        plot.axvline(place, color="0.2", linewidth=1)
        for height, text in axis.ticks:
            box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.8}
            plot.text(place - 0.03, height, text, ha="right", va="center", fontsize=9, bbox=box)
    plot.set_xticks(range(len(axes)), [axis.name.replace(".", ".\n", axis.name.count(".") - 1) for axis in axes])
    plot.xaxis.tick_top()
    plot.tick_params(length=0, labelsize=9)
    plot.set_yticks([])
    plot.set(xlim=(-0.55, len(axes) - 0.9), ylim=(-0.05, 1.05), frame_on=False)
    figure.colorbar(colour, ax=plot, label=metric, pad=0.02)
    with replacing(path) as part:
        figure.savefig(part)
    return path


def round_ticks(low: float, high: float, *, log: bool) -> list[float]:
    """From 2 to 8 round numbers inside an interval: multiples of 1, 2 or 5 times a power of ten.

    Args:
        low: Lower end.
        high: Upper end, above it; on a logarithmic axis at least 5 times as much.
        log: Whether the axis is logarithmic: then 1, 2 and 5 in each decade, or powers of ten alone if these are many.
    """
    if log:
        first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
        inside = [(n, k) for n in range(first, last + 1) for k in (1, 2, 5) if low <= float(f"{k}e{n}") <= high]
        if len(inside) > _MOST_TICKS:
            decades = [n for n, k in inside if k == 1]
            inside = [(n, 1) for n in decades[:: -(-len(decades) // _MOST_TICKS)]]
        return [float(f"{k}e{n}") for n, k in inside]
    decade = math.floor(math.log10(high - low))
    for n, k in ((n, k) for n in (decade - 1, decade) for k in (1, 2, 5)):
        step = float(f"{k}e{n}")
        found = range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
        if len(found) <= _MOST_TICKS:
            break
    return [float(f"{number * k}e{n}") for number in found]


def axis_of(name: str, values: Sequence[Any], *, exact: bool = True) -> Axis:
    """Positions of runs on the axis of a parameter: numbers by value or its logarithm, other values by rank.

    Args:
        name: Name of the parameter.
        values: What each run has for it, None for nothing.
        exact: Whether the marks are at the values, if these are few.
    """
    present = [value for value in values if value is not None]
    if present and all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in present):
        low, high = min(present), max(present)
        log = low > 0 and high / low >= 5
        scale = math.log if log else float
        span = scale(high) - scale(low) or 1.0
        marks = {f"{kind:.4g}" if isinstance(kind, float) else str(kind): kind for kind in sorted(set(present))}
        if high > low and (not exact or len(marks) > _MOST_TICKS):
            marks = {f"{kind:.10g}": kind for kind in round_ticks(low, high, log=log)}
        ticks = [((scale(kind) - scale(low)) / span, text) for text, kind in marks.items()]
        return Axis(name, [math.nan if v is None else (scale(v) - scale(low)) / span for v in values], ticks)
    texts = ["–" if v is None else v if isinstance(v, str) else json.dumps(v) for v in values]
    order = sorted(set(texts), reverse=True)
    step = 1 / max(len(order) - 1, 1)
    width = min(0.3 * step, 0.06) / max(len(values) - 1, 1)  # lines of one kind lie side by side
    heights = [order.index(text) * step + (n - len(values) / 2) * width for n, text in enumerate(texts)]
    return Axis(name, heights, [(n * step, text) for n, text in enumerate(order)])
