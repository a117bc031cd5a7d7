"""Samples of an autoencoder of digits under a mixture, under one normal distribution, and under N(0, I)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest

from vae_zoo.callbacks import Fidelity
from vae_zoo.data import Digits
from vae_zoo.distributions import FixedNormal
from vae_zoo.models import AE, PriorAE
from vae_zoo.nn import Dense
from vae_zoo.samplers import GMM, FittedNormal, latents, with_prior
from vae_zoo.testing.subject import quiet_trainer


@pytest.mark.slow  # trains for half a minute
@pytest.mark.exhaustive
def test_a_mixture_lowers_the_distance_of_samples_from_digits(tmp_path: Path) -> None:
    data, dense = Digits(batch_size=64), partial(Dense, hidden=[256, 256])
    parts: dict[str, Any] = {"encoder": dense, "decoder": dense, "likelihood": partial(FixedNormal, scale=0.2)}
    model = AE(shape=data.shape, **parts)
    quiet_trainer(tmp_path, max_epochs=60).fit(model, data)
    standard = PriorAE(shape=data.shape, **parts)
    standard.load_state_dict(model.state_dict(), strict=False)
    models = {"standard": standard}
    for cls in (FittedNormal, GMM):
        models[cls.__name__] = with_prior(model, cls(model.latent_shape).fit(latents(model, data)))
    distances = {}
    for name, made in models.items():
        trainer = quiet_trainer(tmp_path, callbacks=[Fidelity(num_samples=1000)])
        (metrics,) = trainer.test(made, data, verbose=False)
        distances[name] = metrics["test/fid[classifier of Digits]"]
    assert distances["GMM"] < 2 / 3 * distances["FittedNormal"] < distances["standard"] / 5, distances
