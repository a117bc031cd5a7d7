"""The callbacks RateDecomposition and AIS."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import Batches, LinearGaussian, quiet_trainer, tiny, tiny_data
from short import few

from vae_zoo.callbacks import AIS, RateDecomposition, Report
from vae_zoo.evaluation import ais
from vae_zoo.metrics import AggregatePosterior
from vae_zoo.models import AE, VAE

quick = partial(AIS, num_chains=4, num_steps=3, num_leapfrog=2, num_samples=20)
TERMS = ("mutual_information", "total_correlation", "dimension_wise_kl")


def test_the_rate_is_decomposed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, data = tiny(VAE), tiny_data()
    trainer = quiet_trainer(tmp_path, callbacks=[RateDecomposition(num_samples=300), Report()])
    (values,) = trainer.test(model, data, verbose=False)
    q, metric = model.encode(data.load("test").x.float() / 255), AggregatePosterior(num_samples=300)
    metric.update(q.base_dist.loc, q.base_dist.log_scale)
    for name, value in metric.compute().items():
        assert values[f"test/{name}"] == pytest.approx(value.item(), rel=1e-4, abs=1e-6)
    assert sum(values[f"test/{name}"] for name in TERMS) == pytest.approx(values["test/kl"], rel=0.1)
    assert "total_correlation" in capsys.readouterr().out
    assert trainer.test(model, data, verbose=False) == [values]


def test_a_posterior_that_is_not_normal_is_skipped(tmp_path: Path) -> None:
    for model in (LinearGaussian(shape=(5,), latent_dim=2), tiny(AE, shape=(5,))):
        x = torch.rand(4, 5, dtype=next(model.parameters()).dtype)
        trainer = quiet_trainer(tmp_path, callbacks=[RateDecomposition(), quick()])
        with pytest.warns(UserWarning, match=r"the rate of \w+ is not decomposed: its posterior is not normal"):
            (values,) = trainer.test(model, Batches(x), verbose=False)
        assert not {f"test/{name}" for name in TERMS} & set(values)
        assert ("test/ais_log_evidence" in values) == isinstance(model, VAE)


@pytest.mark.parametrize("num_images", few([1, 7, 100], 1))
def test_annealed_evidence_of_the_first_images(tmp_path: Path, num_images: int) -> None:
    model, x = LinearGaussian(shape=(5,), latent_dim=2), torch.randn(11, 5, dtype=torch.float64)
    callback = quick(num_images=num_images, num_steps=20, num_chains=30)
    trainer = quiet_trainer(tmp_path, callbacks=[callback])
    (values,) = trainer.test(model, Batches(x[:6], x[6:]), verbose=False)
    exact = model.exact_evidence(x[:num_images]).mean().item()
    error = values["test/ais_log_evidence_se"]
    assert 0 < error < 2
    assert values["test/ais_log_evidence"] == pytest.approx(exact, abs=4 * error)
    assert values["test/ais_gain"] == pytest.approx(values["test/ais_log_evidence"] - exact, abs=1e-4)
    assert trainer.test(model, Batches(x[:6], x[6:]), verbose=False) == [values]


@pytest.mark.exhaustive
def test_the_function_by_hand(tmp_path: Path) -> None:
    model, data = tiny(VAE), tiny_data()
    (values,) = quiet_trainer(tmp_path, callbacks=[quick(num_images=2)]).test(model, data, verbose=False)
    found = ais(model, data.load("test").x[:2].float() / 255, num_chains=200, num_steps=20, num_leapfrog=3)
    assert values["test/ais_log_evidence"] == pytest.approx(found.value.mean().item(), abs=3)


@pytest.mark.parametrize("name", ["num_images", "num_chains", "num_steps", "num_leapfrog", "num_samples"])
def test_errors(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        AIS(**{name: 0})
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        RateDecomposition(num_samples=0)
