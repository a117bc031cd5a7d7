from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch

from vae_zoo.data import TimeSeries
from vae_zoo.data.libraries.time_series import padded


@pytest.fixture
def aeon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package in its place, with series as it gives them: an array, or a list if their lengths differ."""
    random = np.random.default_rng(0)
    equal = random.normal(3, 2, (40, 2, 30))
    unequal = [random.normal(size=(2, 10 + n)) for n in range(20)]
    datasets = SimpleNamespace(
        load_basic_motions=lambda: (equal, np.array(["a", "b"] * 20)),
        load_japanese_vowels=lambda: (unequal, np.array(["1", "2"] * 10)),
    )
    package = ModuleType("aeon")
    package.datasets = datasets  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "aeon", package)
    monkeypatch.setitem(sys.modules, "aeon.datasets", datasets)


@pytest.mark.usefixtures("aeon")
def test_series() -> None:
    data = TimeSeries()
    assert (data.shape, data.num_train, data.num_classes, data.missing) == ((2, 30), 32, 2, False)
    x = torch.cat([data.load(split).x for split in ("train", "val", "test")])
    torch.testing.assert_close(x.mean((0, 2)), torch.zeros(2), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2), correction=0), torch.ones(2))
    assert abs(TimeSeries(standardise=False).load("train").x.mean() - 3) < 0.3


@pytest.mark.usefixtures("aeon")
def test_unequal_lengths() -> None:
    data = TimeSeries(name="japanese_vowels")
    assert (data.shape, data.missing) == ((2, 29), True)
    loaded = data.load("train")
    assert torch.equal((~loaded.x.isnan()).sum(-1)[:, 0], 10 + loaded.rows)


def test_padding() -> None:
    x = padded([np.ones((1, 2)), np.ones((1, 3))])
    assert np.isnan(x).tolist() == [[[False, False, True]], [[False, False, False]]]


def test_an_unknown_name() -> None:
    with pytest.raises(ValueError, match=r"name must be one of basic_motions, .*, got 'nothing'\."):
        TimeSeries(name="nothing")


@pytest.mark.parametrize(("name", "shape"), [("basic_motions", (6, 100)), ("japanese_vowels", (12, 29))])
def test_the_package_itself(name: str, shape: tuple[int, ...]) -> None:
    pytest.importorskip("aeon", reason="the extra series is not installed")
    data = TimeSeries(name=name)
    assert data.shape[0] == shape[0]
    assert len(data.load("train").x) == data.num_train
