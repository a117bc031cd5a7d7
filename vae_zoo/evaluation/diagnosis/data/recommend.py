"""A model for data: likelihood, network, sizes, and the command that fits it."""

from __future__ import annotations

import json
import math
import shlex
from typing import Any, NamedTuple

import numpy as np

from vae_zoo.evaluation.diagnosis.data.columns import MOST_LEVELS, heavy_tails
from vae_zoo.evaluation.diagnosis.data.images import grey_stored_as_colour, unreadable_images
from vae_zoo.evaluation.diagnosis.data.source import Source
from vae_zoo.evaluation.diagnosis.data.values import is_count

STEPS, SHORTEST, LONGEST = 4000, 20, 200
"""Optimizer steps of a first fit, about twice those after which the packaged models of digits gain 5 % no more; and the
range of its epochs."""
VARIANCE = 0.9
"""Share of the variance of standardised columns that as many principal components as latents have."""


class Recommendation(NamedTuple):
    """A first model of some data.

    Args:
        data: Data module.
        model: Model.
        likelihood: Likelihood, and why.
        network: Networks.
        latent_dim: Latent dimensions.
        batch_size: Examples in a batch.
        command: The command that fits it.
    """

    data: str
    model: str
    likelihood: str
    network: str
    latent_dim: int
    batch_size: int
    command: str


def recommend(source: Source) -> Recommendation:
    """A first model of some data, which takes what is wrong with them into account as far as options can."""
    make = {"folder": _folder, "images": _images, "counts": _counts, "table": _table, "vectors": _vectors}
    data, model, likelihood, network, latent_dim, options = make[source.kind](source)
    batch_size = 32 if source.num < 1000 else 64 if source.num < 5000 else 128
    epochs = min(max(SHORTEST, math.ceil(STEPS * batch_size / source.num)), LONGEST)
    where = "folder" if source.kind == "folder" else "path"
    words = ["vae-zoo", "fit", "--model", model, "--data", data, f"--data.{where}", str(source.path)]
    if source.test is not None and source.kind != "folder":
        words += ["--data.test_path", str(source.test.path)]
    words += ["--data.layout", source.settings["layout"]] if "layout" in source.settings else []
    words += [*options, "--data.batch_size", str(batch_size), "--model.latent_dim", str(latent_dim)]
    words += ["--trainer.max_epochs", str(epochs)]
    return Recommendation(data, model, likelihood, network, latent_dim, batch_size, shlex.join(words))


Parts = tuple[str, str, str, str, int, list[str]]


def _folder(source: Source) -> Parts:
    sides = [min(picture.size) for picture in source.pictures if not picture.error]
    size = next((n for n in (64, 32, 16) if n <= min(sides, default=64)), 16)
    options = ["--data.image_size", str(size)]
    grey, bad = grey_stored_as_colour(source), unreadable_images(source)
    options += ["--data.channels", "1"] if grey is not None and grey.remedy else []
    options += ["--data.bad_files", "skip"] if bad is not None and bad.remedy else []
    why = "OptimalNormal, for images in [0, 1]: σ is computed from the errors"
    return "ImageFolder", "ConvVAE", why, f"convolutions, for images of {size}x{size}", size, options


def _images(source: Source) -> Parts:
    side = min(source.x.shape[2:])
    options, why = [], "OptimalNormal, for real numbers: σ is computed from the errors"
    if source.x.dtype.kind == "f" and np.isnan(source.x).any():
        options, why = ["--data.missing", "true"], "SharedNormal, which leaves missing pixels out; σ is learned"
    known = source.x[np.isfinite(source.x)] if source.x.dtype.kind == "f" else source.x
    low, high = (float(value) for value in (known.min(initial=0), known.max(initial=0)))
    if source.binary and high == (255 if source.x.dtype == np.uint8 else 1) and low == 0:
        why = "Bernoulli, for binary pixels"
    options += ["--model.likelihood", why.split(",")[0]]
    model, network = ("ConvVAE", "convolutions") if side >= 16 else ("MLPVAE", "dense layers, for small images")
    if model == "MLPVAE":
        options += _hidden(source)
    return "Arrays", model, why, network, 16 if side < 16 else 32 if side < 64 else 64, options


def _counts(source: Source) -> Parts:
    options = ["--data.transpose", "true"] if "transpose" in source.settings else []
    if label := source.settings.get("label_column"):
        options += ["--data.label_key" if source.path.suffix == ".h5ad" else "--data.label_column", label]
    if name := source.settings.get("id_column"):
        options += ["--data.id_column", name]
    why = "ZeroInflatedNegativeBinomial with the observed library size, the default of CountVAE"
    return "Counts", "CountVAE", why, "dense layers on log(1 + x)", 10, options


def _table(source: Source) -> Parts:
    names, options = source.ids, []
    given = source.settings.get("id_column")
    if given or names:
        options += ["--data.id_column", given or source.columns[names[0]].name]
    found = [n for n in source.labels if n not in names]
    label = source.settings.get("label_column") or (source.columns[found[0]].name if found else None)
    options += ["--data.label_column", label] if label else []
    out = set(names if given else names[1:])
    for n, column in enumerate(source.columns):
        values = source.known[n]
        if not len(values) or (values == values[0]).all() or (column.type == "text" and column.levels > MOST_LEVELS):
            out.add(n)
    out -= {n for n, column in enumerate(source.columns) if column.name in options}
    left = [n for n, column in enumerate(source.columns) if n not in out and column.name not in options]
    counts = {source.columns[n].name: "count" for n in left if n in source.numbers and is_count(source.known[n])}
    logs = {source.columns[n].name: "log" for n in left if n in source.numbers and _log(source, n)}
    logs = {name: kind for name, kind in logs.items() if name not in counts}
    options += ["--data.ignore", json.dumps([source.columns[n].name for n in sorted(out)])] if out else []
    options += ["--data.columns", json.dumps(counts)] if counts else []
    options += ["--data.scaling", json.dumps(logs)] if logs else []
    why = "Columns, one family for each column: normal, categorical, Bernoulli, negative binomial"
    return "Table", "TVAE", why, "dense layers of the TVAE paper", _latents(source), options


def _log(source: Source, n: int) -> bool:
    alone = Source(source.path, source.kind, source.x[:, [n]], source.num, [source.columns[n]])
    found = heavy_tails(alone)
    return found is not None and found.severity != "fine" and bool(source.known[n].min() > 0)


def _vectors(source: Source) -> Parts:
    csv, gone = source.path.suffix == ".csv", bool(np.isnan(source.x).any())
    if source.whole and len(source.numbers) == len(source.columns) and not gone:
        chosen = [n for n in range(len(source.columns)) if n not in {*source.ids, *source.labels}]
        if chosen and sum(is_count(source.known[n]) for n in chosen) > len(chosen) / 2 and len(chosen) >= 5:
            return _counts_of(source)
    constant = any(len(values) and (values == values[0]).all() for values in source.known)
    two = any(len(np.unique(values)) == 2 for values in source.known)
    some = any(is_count(values) for values in source.known)
    if csv and not source.binary and (gone or constant or two or some):
        return _table(source)
    options = []
    if csv:
        options = [word for word in _table(source)[5] if not word.startswith(("[", "{"))]
        options = options[: 2 * sum(word in ("--data.id_column", "--data.label_column") for word in options)]
    if source.binary and set(np.unique(source.x[np.isfinite(source.x)])) <= {0.0, 1.0}:
        why, more = "Bernoulli, for binary values", ["--model.likelihood", "Bernoulli"]
    else:
        why, more = _real(source, gone)
    options += ["--data.missing", "true"] if gone else []
    return "Arrays", "MLPVAE", why, "dense layers", _latents(source), [*options, *more, *_hidden(source)]


def _counts_of(source: Source) -> Parts:
    """Counts in a dense file, whose columns of ids and labels are named."""
    parts = _counts(source)
    named: dict[str, Any] = {}
    for option, found in (("--data.id_column", source.ids), ("--data.label_column", source.labels)):
        if found and source.path.suffix == ".csv" and option not in parts[5]:
            named[option] = source.columns[found[0]].name
    return (*parts[:5], [*parts[5], *(word for pair in named.items() for word in pair)])


def _real(source: Source, gone: bool) -> tuple[str, list[str]]:
    heavy = heavy_tails(source)
    lowest = min((float(values.min()) for values in source.known if len(values)), default=0.0)
    if heavy is not None and heavy.severity != "fine":
        if lowest >= 0:
            why = "SharedNormal, of log(1 + x)"
            return why, ["--data.scaling", "log1p", "--model.likelihood", "SharedNormal"]
        return "StudentT, for heavy tails", ["--data.scaling", "robust", "--model.likelihood", "StudentT"]
    name = "SharedNormal" if gone else "OptimalNormal"
    how = "learned" if gone else "computed from the errors"
    return f"{name}, of standardised columns: σ is {how}", ["--data.scaling", "standard", "--model.likelihood", name]


def _hidden(source: Source) -> list[str]:
    if source.num >= 50_000:
        return []
    width = 64 if source.num < 2000 else 256
    return ["--model.encoder.hidden", f"[{width},{width}]", "--model.decoder.hidden", f"[{width},{width}]"]


def _latents(source: Source) -> int:
    """Number of principal components with most of the variance of standardised columns, from 2 to 32."""
    rows = np.where(np.isfinite(source.x), source.x, np.nan)[:5000]
    rows = rows[:, [n for n in source.features if len(source.known[n])]]
    rows = rows - np.nanmean(rows, 0)
    spread = np.nanstd(rows, 0)
    rows = np.nan_to_num(rows[:, spread > 0] / spread[spread > 0])
    if rows.shape[1] < 2:
        return 2
    sizes = np.linalg.eigvalsh(rows.T @ rows)[::-1] if rows.shape[1] <= 2000 else np.ones(32)
    return int(np.clip(np.searchsorted(np.cumsum(sizes) / sizes.sum(), VARIANCE) + 1, 2, 32))
