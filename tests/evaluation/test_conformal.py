"""False alarms at the promised rate."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Batches, quiet_trainer, tiny, tiny_data

from vae_zoo.callbacks import PredictionWriter
from vae_zoo.data import Arrays
from vae_zoo.evaluation import p_values, threshold
from vae_zoo.models import AE, VAE


def predict(folder: Path, model: Any, data: Any, **kwargs: Any) -> dict[str, np.ndarray]:
    few = {"num_samples": 0, "num_paths": 0, "num_dims": 0}
    writer = PredictionWriter(**{**few, "calibrate": "val", **kwargs})
    quiet_trainer(folder, callbacks=[writer]).predict(model, data, return_predictions=False)
    with np.load(folder / "scores.npz") as found:
        return dict(found)


def test_a_score_that_is_no_number_has_no_p_value() -> None:
    found = p_values(np.array([np.nan, -9.0, 9.0]), np.array([1.0, 2.0, 3.0]))
    np.testing.assert_array_equal(found, [np.nan, 0.25, 1.0])
    for calibrate in (lambda x: p_values(np.ones(1), x), lambda x: threshold(x, 0.5)):
        with pytest.raises(ValueError, match=r"^1 of 3 scores to calibrate on are NaN\.$"):
            calibrate(np.array([1.0, np.nan, 2.0]))


def test_p_values_are_counts() -> None:
    reference, scores = np.random.default_rng(0).normal(size=(2, 50))
    counted = [(1 + sum(r <= s for r in reference)) / 51 for s in scores]
    np.testing.assert_allclose(p_values(scores, reference), counted)
    assert p_values(reference[:1], reference)[0] > 1 / 51, "a tie counts"


@pytest.mark.parametrize("num", [19, 20, 99, 100, 137])
@pytest.mark.parametrize("rate", [0.05, 0.1, 0.29, 0.5])
def test_the_threshold_is_where_p_values_reach_the_rate(num: int, rate: float) -> None:
    random = np.random.default_rng(num)
    reference = random.normal(size=num)
    scores = np.concatenate([reference, random.normal(size=500)])
    flagged = p_values(scores, reference) <= rate + 1e-12
    np.testing.assert_array_equal(scores < threshold(reference, rate), flagged)


def test_p_values_of_exchangeable_scores_are_uniform() -> None:
    """Exactly, over the draw of both: with 19 references, each of the 20 ranks is equally likely."""
    draws = np.random.default_rng(0).normal(size=(20_000, 20))
    values = np.array([p_values(row[:1], row[1:])[0] for row in draws])
    shares = np.bincount(np.round(values * 20).astype(int), minlength=21)[1:] / len(values)
    assert abs(shares - 0.05).max() < 0.006


@pytest.mark.parametrize("cls", [VAE, AE])
def test_false_alarms_of_held_out_data_are_as_promised(cls: type, tmp_path: Path) -> None:
    """Five in a hundred, whatever the model: it has not even been trained. Other data are found."""
    random = np.random.default_rng(0)
    latent = random.normal(size=(24_000, 2))
    x = 1 / (1 + np.exp(-latent @ random.normal(size=(2, 6)) - 0.3 * random.normal(size=(24_000, 6))))
    np.save(tmp_path / "a.npy", x.astype(np.float32))
    data = Arrays(path=str(tmp_path / "a.npy"), val_fraction=0.3, test_fraction=0.6, eval_batch_size=4000)
    model = tiny(cls, shape=(6,))
    found = predict(tmp_path, model, data)
    assert len(found["p_value"]) == 14_400
    assert abs((found["p_value"] <= 0.05).mean() - 0.05) < 0.01
    assert abs((found["p_value"] <= 0.2).mean() - 0.2) < 0.02
    said = json.loads((tmp_path / "calibration.json").read_text())
    by = "elbo" if cls is VAE else "log_px"
    assert (said["score"], said["split"], said["num_examples"], said["false_alarms"]) == (by, "val", 7200, 0.05)
    np.testing.assert_array_equal(found[by] < said["threshold"], found["p_value"] <= 0.05)


def test_the_evidence_is_preferred(tmp_path: Path) -> None:
    found = predict(tmp_path, tiny(VAE), tiny_data(), num_importance=2, false_alarms=0.2)
    assert json.loads((tmp_path / "calibration.json").read_text())["score"] == "log_evidence"
    assert "p_value" in found
    assert (tmp_path / "scores.csv").read_text().splitlines()[
        0
    ] == "index,elbo,kl,log_px,log_evidence,y,p_value,typicality"
    assert not (tmp_path / "parts").exists()


def test_p_values_are_those_of_the_scores(tmp_path: Path) -> None:
    """The noise of the references is that of the validation, the same in every run."""
    model, data = tiny(VAE), tiny_data(num_examples=400)
    found = predict(tmp_path, model, data)
    data.predict_split = "val"
    (tmp_path / "val").mkdir()
    reference = predict(tmp_path / "val", model, data, calibrate=None)
    np.testing.assert_array_equal(found["p_value"], p_values(found["elbo"], reference["elbo"]))
    np.testing.assert_allclose(found["typicality"], abs(found["elbo"] - reference["elbo"].mean()), atol=1e-4)


@pytest.mark.parametrize(
    ("data", "kwargs", "said"),
    [
        (tiny_data(), {}, "false_alarms 0.05 needs at least 19 examples to calibrate on, there are 8."),
        (Batches(torch.rand(4, 1, 8, 8)), {}, "calibrate needs a data module of vae_zoo, got NoneType."),
    ],
)
def test_what_cannot_be_calibrated(data: Any, kwargs: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        predict(tmp_path, tiny(VAE), data, **kwargs)


@pytest.mark.parametrize("split", ["all", "train", "val"])
def test_examples_of_the_training_have_no_p_values(split: str, tmp_path: Path) -> None:
    data = tiny_data()
    data.predict_split = split  # type: ignore[assignment]
    with pytest.raises(ValueError, match=f"^calibrate: p-values hold for .* got split {split} of the same data"):
        predict(tmp_path, tiny(VAE), data)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, float("nan")])
def test_bad_rates(rate: float) -> None:
    with pytest.raises(ValueError, match=r"^false_alarms must lie between 0 and 1, got"):
        PredictionWriter(false_alarms=rate)
