"""Scalings of the columns of vectors, fitted to training examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

Scale: TypeAlias = Literal["none", "standard", "robust", "minmax", "log", "log1p"]
"""How a column is scaled: not at all; to mean 0 and standard deviation 1; by median and interquartile range; to [0, 1];
or to mean 0 and standard deviation 1 after log(x) or log(1 + x)."""

_OFFSETS = {"log": 0.0, "log1p": 1.0}
_NORMAL_RANGE = 1.3489795
"""Interquartile range of the standard normal distribution."""

Fitted: TypeAlias = dict[str, list[float]]
"""Arguments of :class:`~vae_zoo.distributions.likelihoods.scaled.Scaling`."""


def check_scales(scales: Iterable[str]) -> None:
    """Refuse unknown scalings.

    Raises:
        ValueError: With the choices and what came.
    """
    for scale in scales:
        if scale not in get_args(Scale):
            raise ValueError(f"scaling must be one of {', '.join(get_args(Scale))}, got {scale!r}.")


def fit_scaling(x: Tensor, scales: Sequence[Scale], names: Sequence[str], where: str) -> Fitted | None:
    """Shifts and scales of columns, from their observed values.

    A column of one value only is shifted, with a scale of 1.

    Args:
        x: Training examples, (N, D), in which NaN is missing.
        scales: Scaling of each column.
        names: Name of each column in errors.
        where: Name of the data in errors.

    Returns:
        Plain data, or None if no column is scaled.

    Raises:
        ValueError: If a column has values without a logarithm.
    """
    if all(scale == "none" for scale in scales):
        return None
    shifts, sizes = [], []
    for scale, name, column in zip(scales, names, x.T, strict=True):
        values = column[~column.isnan()].double()
        if scale in _OFFSETS:
            shifted = values + _OFFSETS[scale]
            if values.numel() and not bool(shifted.min() > 0):
                bound = f"above {0 if scale == 'log' else -1}"
                raise ValueError(
                    f"scaling {scale} needs values {bound}, got {values.min():.4g} in column {name} of {where}: take "
                    "standard or robust."
                )
            values = shifted.log()
        shift, size = _fitted(values, scale)
        shifts.append(shift)
        sizes.append(size if size > 0 else 1.0)
    found = {"shift": shifts, "scale": sizes}
    logs = {kind: [float(n) for n, scale in enumerate(scales) if scale == kind] for kind in _OFFSETS}
    return found | {kind: columns for kind, columns in logs.items() if columns}


def _fitted(values: Tensor, scale: Scale) -> tuple[float, float]:
    if scale == "none" or not values.numel():
        return 0.0, 1.0
    if scale == "minmax":
        least, most = torch.aminmax(values)
        return float(least), float(most - least)
    if scale == "robust":
        ordered = values.sort().values
        low, middle, high = (float(ordered[min(len(ordered) - 1, int(q * len(ordered)))]) for q in (0.25, 0.5, 0.75))
        if high > low:
            return middle, (high - low) / _NORMAL_RANGE
        return middle, float(values.std(correction=0))
    return float(values.mean()), float(values.std(correction=0))
