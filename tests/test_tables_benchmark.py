"""The comparison with ctgan: its estimates of log p(x), which a fit of minutes would hide, and its table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import MultivariateNormal, Normal

from benchmarks import report, tables
from vae_zoo.data import Table
from vae_zoo.models import TVAE

pandas = pytest.importorskip("pandas")


def test_the_estimate_is_that_of_a_linear_gaussian_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also from the posteriors of an encoder that is wrong everywhere."""
    monkeypatch.setattr(tables, "SAMPLES", 400)
    torch.manual_seed(0)
    weight, x = torch.randn(4, 2), torch.randn(30, 4)
    exact = MultivariateNormal(torch.zeros(4), weight @ weight.T + 0.25 * torch.eye(4)).log_prob(x).mean()
    found = tables.density(
        lambda z: Normal(z @ weight.T, 0.5).log_prob(x).sum(1), torch.zeros(30, 2), torch.full((30, 2), 0.1)
    )
    assert found["log_evidence"] == pytest.approx(exact.item(), abs=0.05)
    assert found["elbo"] < found["log_evidence"]
    assert found["pareto_k"] < 0.7


def test_the_density_of_the_other_decoder_sums_to_one() -> None:
    """Over a grid of numbers and all categories, for one latent."""
    mixture = SimpleNamespace(means_=np.array([[0.0], [9.0], [4.0]]), covariances_=np.array([1.0, 9.0, 0.25]))
    scaled = SimpleNamespace(valid_component_indicator=np.array([True, False, True]), _bgm_transformer=mixture)
    hot = SimpleNamespace(
        transform=lambda frame: pandas.get_dummies(frame.iloc[:, 0].astype(pandas.CategoricalDtype(["a", "b"])))
    )
    kinds: list[Any] = [
        SimpleNamespace(column_name="n", column_type="continuous", transform=scaled, output_dimensions=3),
        SimpleNamespace(column_name="c", column_type="discrete", transform=hot, output_dimensions=2),
    ]
    model = SimpleNamespace(
        transformer=SimpleNamespace(_column_transform_info_list=kinds),
        decoder=lambda z: (z, torch.tensor([0.2, 1.0, 1.0, 1.0, 1.0])),
    )
    grid = np.arange(-12, 16.1, 0.1)
    frame = pandas.DataFrame({"n": np.tile(grid, 2), "c": ["a"] * len(grid) + ["b"] * len(grid)})
    z = torch.tensor([0.3, 1.0, -0.5, 2.0, 0.1]).expand(len(frame), 5)
    assert tables.log_px(model, z, frame, {"n": 0.1}).exp().sum().item() == pytest.approx(1, abs=1e-4)


def test_the_probability_of_an_interval_is_exact_in_both_tails() -> None:
    low = torch.tensor([-40.0, -5.0, -0.1, 3.0, 30.0, 0.0], dtype=torch.float64)
    high = low + torch.tensor([0.5, 1e-4, 0.2, 1.0, 1e-3, 1e-9], dtype=torch.float64)
    found = tables.interval(low, high, torch.tensor(0.0), torch.tensor(1.0))
    upper = [
        stats.norm.logsf(float(a)) if a > 0 else stats.norm.logcdf(float(b)) for a, b in zip(low, high, strict=True)
    ]
    lower = [
        stats.norm.logsf(float(b)) if a > 0 else stats.norm.logcdf(float(a)) for a, b in zip(low, high, strict=True)
    ]
    exact = [u + np.log(-np.expm1(v - u)) for u, v in zip(upper[:5], lower[:5], strict=True)]
    np.testing.assert_allclose(found[:5].numpy(), exact, rtol=1e-9)
    assert found[5].item() == pytest.approx(np.log(1e-9 * stats.norm.pdf(0)), rel=1e-3)


def test_own_probabilities_sum_to_one_too(tmp_path: Path) -> None:
    """A number with a logarithm, another and a category, for one latent."""
    frame = pandas.DataFrame({"a": [0.1, 0.5, 2.0] * 10, "c": ["x", "y", "z"] * 10})
    frame.to_csv(tmp_path / "t.csv", index=False)
    data = Table(path=str(tmp_path / "t.csv"), scaling={"a": "log"})
    model = TVAE(shape=data.shape, latent_dim=2, likelihood=data.likelihood, scaling=data.scaling).eval()
    values = torch.arange(0.1, 400, 0.1)
    x = torch.stack([values.repeat(3), torch.arange(3.0).repeat_interleave(len(values))], 1)
    found = tables.own_log_px(model, torch.randn(1, 2).expand(len(x), 2), x, tables.steps(data.columns))
    assert found.exp().sum().item() == pytest.approx(1, abs=0.02)


def test_own_probabilities_of_narrow_intervals_are_densities(tmp_path: Path) -> None:
    """Cents of incomes, of which float32 has too few digits after a logarithm."""
    incomes = np.random.default_rng(0).lognormal(10, 0.3, 40).round(2)
    pandas.DataFrame({"a": incomes, "b": incomes[::-1]}).to_csv(tmp_path / "t.csv", index=False)
    data = Table(path=str(tmp_path / "t.csv"), scaling={"a": "log"})
    model = TVAE(shape=data.shape, latent_dim=2, likelihood=data.likelihood, scaling=data.scaling).eval()
    x, z = data.load("train").x, torch.randn(1, 2)
    with torch.no_grad():
        found = tables.own_log_px(model, z.expand(len(x), 2), x, tables.steps(data.columns))
        wanted = model.decode(z).log_prob(x).double() + 2 * np.log(0.01)
    torch.testing.assert_close(found, wanted, atol=1e-3, rtol=0)


def test_ours_stops_in_time_and_keeps_the_best_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "REFINEMENTS", 5)
    monkeypatch.setattr(tables, "SAMPLES", 100)
    drawn: list[Any] = []
    monkeypatch.setattr(tables, "measured", lambda rows, *_: drawn.append(rows) or {})
    data = tables.opened("wine", tmp_path, 0)
    assert {column["type"] for column in data.columns} == {"number", "category"}
    found = tables.ours(0, data, "kind", 0.5, tmp_path)
    assert 0.5 < found["seconds"] < 5
    assert math.isfinite(found["log_evidence"])
    assert drawn[0].shape == data.load("train").x.shape


@pytest.mark.parametrize("name", tables.SOURCES)
def test_every_table_has_its_label(name: str, tmp_path: Path) -> None:
    data = tables.opened(name, tmp_path, 0)
    assert tables.SOURCES[name].label in [column["name"] for column in data.columns]
    assert len(data.load("test").x) > 50


def test_the_table_of_the_page(tmp_path: Path) -> None:
    measures = dict.fromkeys(report.TABLES, 0.5)
    rows = [
        {"data": "wine", "seed": seed, "model": model, **measures, "log_evidence": -20.0 - seed}
        for seed in (0, 1)
        for model in ("ctgan", "TVAE")
    ]
    path = tmp_path / "tables.json"
    path.write_text(json.dumps({"rows": rows, "hardware": "cpu", "commit": "abc", "torch": "2"}))
    text = report.tables(path)
    assert "| wine | TVAE | −20.50 ± 0.71 | 0.50 ± 0.00 |" in text
    assert "Means over 2 seeds" in text
    assert "torch 2; commit abc" in text
    assert report.tables(tmp_path / "none.json") == "Not measured yet.\n"
