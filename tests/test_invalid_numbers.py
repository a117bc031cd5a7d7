"""Numbers that are not finite, and counts below 1, are refused when an object is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from vae_zoo.callbacks import TimedProgressBar
from vae_zoo.data import Stream, Table
from vae_zoo.distributions import OptimalNormal
from vae_zoo.metrics import ActiveUnits, FactorVAEScore, InformativeUnits
from vae_zoo.models import M2, ExemplarVAE
from vae_zoo.nn import Bounded, ResidualQuantizer
from vae_zoo.penalties import SlicedWasserstein

NUMBERS: list[tuple[Callable[..., Any], str]] = [
    (TimedProgressBar, "interval"),
    (partial(OptimalNormal, (4,)), "min_log_scale"),
    (ActiveUnits, "threshold"),
    (InformativeUnits, "threshold"),
    (FactorVAEScore, "min_scale"),
    (Bounded, "low"),
    (Bounded, "high"),
    (partial(ResidualQuantizer, 8, 4), "norm_decay"),
    (partial(SlicedWasserstein, (4,)), "power"),
]

COUNTS: list[tuple[Callable[..., Any], str]] = [
    (partial(M2, shape=(4,), num_classes=3), "num_train"),
    (partial(ExemplarVAE, shape=(4,)), "num_train"),
    (partial(Stream, path="none"), "num_classes"),
    (partial(Table, path="none"), "max_categories"),
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("make", "name"), NUMBERS)
def test_not_finite(make: Callable[..., Any], name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}.* got"):
        make(**{name: value})


@pytest.mark.parametrize(("make", "name"), COUNTS)
def test_no_count(make: Callable[..., Any], name: str) -> None:
    make(**{name: 1})
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        make(**{name: 0})
