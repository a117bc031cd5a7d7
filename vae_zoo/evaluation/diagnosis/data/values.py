"""Diagnoses of single values: their range, their type, and what is missing."""

from __future__ import annotations

import numpy as np

from vae_zoo.evaluation.diagnosis.data.source import Source
from vae_zoo.evaluation.diagnosis.finding import Finding, judge

FEW, MANY = 0.2, 0.5
"""Shares of missing cells, of a table and of one column, from which a line is worth printing: above a half, most of a
column would be imputed. A convention, not a measurement."""
ZEROS = 0.6
"""Share of zeros above which a normal likelihood has its mode where no other value is."""
COUNTED = 0.01
"""Least share of zeros of a column of counts: ages and years have none."""


def infinite_values(source: Source) -> Finding | None:
    """Values are infinite: a model would refuse them, and no statistics of them exist.

    The remedy is to replace or remove them where they were made, often a division by 0 or the logarithm of 0.
    """
    values = source.x
    num = int(np.isinf(values).sum()) if values.dtype.kind == "f" else 0
    where = ""
    if num:
        first = np.argwhere(np.isinf(values))[0]
        where = f", the first in example {first[0]}"
        where += f", column {source.columns[first[1]].name}" if source.columns else ""
    return judge(
        "infinite_values",
        "fault" if num else "fine",
        f"{num} values are infinite{where}",
        "none",
        "look for divisions by 0 and logarithms of 0 where the file is written; replace such values by NaN if they "
        "are missing",
    )


def missing_values(source: Source) -> Finding | None:
    """Values are missing: NaN in arrays, which are refused unless announced; many of them in tables.

    In arrays any is a warning, in a table more than 20 % of all cells or 50 % of a column; a column without any value
    is a fault.
    """
    if source.x.dtype.kind != "f" or source.kind == "counts":
        return None
    gone = np.isnan(source.x)
    share = float(gone.mean())
    by_column = gone.mean(0) if source.columns else np.zeros(1)
    empty = [n for n in range(len(source.columns)) if by_column[n] == 1]
    worst = int(by_column.argmax())
    table = source.kind == "table"
    many = share > FEW or by_column[worst] > MANY if table else share > 0
    named = f", {by_column[worst]:.0%} of column {source.columns[worst].name}" if source.columns and share else ""
    what = "--data.ignore '[NAME]'" if table else "remove it"
    return judge(
        "missing_values",
        "fault" if empty else "warning" if many else "fine",
        f"{share:.1%} of the values are missing{named}" + (f"; no value in {source.names(empty)}" if empty else ""),
        f"up to {FEW:.0%}, and {MANY:.0%} of a column" if table else "none, or announced by --data.missing true",
        f"leave out a column that is hardly ever known ({what})"
        + ("" if table else "; set --data.missing true --model.likelihood SharedNormal if NaN means missing"),
    )


def images_off_range(source: Source) -> Finding | None:
    """Images are neither bytes from 0 to 255 nor numbers from 0 to 1.

    Numbers from 0 to 255 are a fault, since images are read as they are, and so are bytes that are 0 or 1 only, which
    would be divided by 255; numbers from −1 to 1 are a warning: likelihoods of [0, 1] refuse them.
    """
    if source.kind != "images" or source.x.ndim != 4 or not source.x.size:  # signals and volumes have any range
        return None
    known = source.x[np.isfinite(source.x)] if source.x.dtype.kind == "f" else source.x
    low, high = float(known.min(initial=0)), float(known.max(initial=0))
    byte = source.x.dtype == np.uint8
    tiny = byte and 0 < high <= 1
    severity = "fault" if tiny or (not byte and high > 1.5) else "warning" if low < -1e-6 else "fine"
    remedy = "save them as bytes: numpy.save(path, x.round().clip(0, 255).astype(numpy.uint8))"
    if tiny:
        remedy = "save 255 instead of 1: numpy.save(path, 255 * x)"
    elif high <= 1.5:
        remedy = (
            "save them in [0, 1]: numpy.save(path, (x + 1) / 2), or keep a likelihood of real numbers (OptimalNormal)"
        )
    return judge(
        "images_off_range",
        severity,  # type: ignore[arg-type]
        f"pixels are {source.x.dtype} from {low:.4g} to {high:.4g}",
        "uint8 from 0 to 255, or numbers from 0 to 1",
        remedy,
    )


def binary_as_continuous(source: Source) -> Finding | None:
    """Values are one of two, and would be modelled as real numbers: all of them, other than 0 and 1, or some columns.

    A density of real numbers is unbounded at two values. Values that all are 0 or 1 have the likelihood Bernoulli by
    default, and tables recognise columns of 0 and 1.
    """
    if source.kind == "images" and source.x.size and source.binary:
        low, high = float(source.x.min()), float(source.x.max())
        fine = source.x.dtype == np.uint8 or (low, high) == (0, 1)
        what, places = f"all pixels are {low:g} or {high:g}", [] if fine else [0]
    elif source.kind == "vectors" and source.numbers:
        two = [n for n in source.features if len(np.unique(source.known[n])) == 2]
        values = set(np.unique(np.concatenate([source.known[n] for n in two]))) if two else set()
        places = [] if source.binary and values <= {0.0, 1.0} else two
        what = f"{len(two)} of {len(source.columns)} columns have two values" + (
            f": {source.names(two)}" if places else ""
        )
    else:
        return None
    return judge(
        "binary_as_continuous",
        "warning" if places else "fine",
        what,
        "values of 0 and 1 throughout, or none of two values",
        "save 0 and 1 for the likelihood Bernoulli if all are binary; otherwise save a .csv file with names and fit "
        "it as --data Table --model TVAE, which takes columns of 0 and 1 as booleans",
    )


def counts_as_numbers(source: Source) -> Finding | None:
    """Columns hold counts, whole numbers from 0 on with a tail to the right, and would be modelled as real numbers.

    At least 1 % of the values are 0, there are more than two different values, and their skewness is positive.
    """
    if source.kind not in ("vectors", "table"):
        return None
    found = [n for n in source.features if is_count(source.known[n])]
    names = source.names(found)
    several = source.option("columns", dict.fromkeys(found[:8], "count"))
    file = several if source.kind == "table" else "--data Counts --model CountVAE if all columns are counts"
    return judge(
        "counts_as_numbers",
        "warning" if found else "fine",
        f"{len(found)} of {len(source.columns)} columns hold counts" + (f": {names}" if found else ""),
        "none in arrays of real numbers; in tables they are of type count",
        f"give them a likelihood of counts: {file}",
    )


def is_count(values: np.ndarray) -> bool:
    """Whether values are whole numbers from 0 on, some of them 0, with a tail to the right."""
    if len(values) < 2 or not ((values >= 0) & (values == np.round(values))).all():
        return False
    varied = len(np.unique(values[:5000])) > 2
    return bool(varied and (values == 0).mean() >= COUNTED and ((values - values.mean()) ** 3).mean() > 0)


def mostly_zeros(source: Source) -> Finding | None:
    """More than 60 % of the numbers are 0, and the likelihood would be one of real numbers.

    In files of counts this is normal: their likelihoods have any share of zeros.
    """
    if source.is_images or not source.numbers:
        return None
    values = source.x[:, source.features]
    share = float((values == 0).mean())
    wrong = share > ZEROS and source.kind != "counts" and not source.binary
    what = "CountVAE with --data Counts, whose likelihood is of counts" if source.whole else "--data.scaling log1p"
    return judge(
        "mostly_zeros",
        "warning" if wrong else "fine",
        f"{share:.0%} of the numbers are 0",
        f"up to {ZEROS:.0%}, but for counts and binary values",
        f"take {what}",
    )
