from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import build, fit, quiet_trainer, small, tiny_data
from torch import Tensor
from torch.distributions import Distribution, Independent

from vae_zoo.callbacks import OutputBias
from vae_zoo.distributions import Bernoulli, FixedNormal
from vae_zoo.models import VAE, ConvVAE
from vae_zoo.nn import Dense


class Dimmed(Bernoulli):
    """A Bernoulli likelihood by its code alone."""

    def distribution(self, params: Tensor) -> Distribution:
        return Independent(torch.distributions.Bernoulli(logits=params - 1, validate_args=False), 3)


def test_the_decoder_starts_from_the_mean_image(tmp_path: Path) -> None:
    model = build(VAE, encoder=small, decoder=partial(Dense, hidden=[]))
    data = tiny_data()
    quiet_trainer(tmp_path, max_epochs=0, callbacks=[OutputBias()]).fit(model, data)
    with torch.no_grad():
        image = model.decode(torch.zeros(1, 4)).mean[0]
    mean = data.load("train").x.float().mean(0) / 255
    torch.testing.assert_close(image, mean.clamp(0.001, 0.999))


def test_not_when_a_fit_goes_on(tmp_path: Path) -> None:
    _, trainer = fit(tmp_path, max_epochs=1)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    without, _ = fit(tmp_path, max_epochs=2, ckpt_path=tmp_path / "a.ckpt")
    model, _ = fit(tmp_path, max_epochs=2, ckpt_path=tmp_path / "a.ckpt", callbacks=[OutputBias()])
    assert all(torch.equal(p, q) for p, q in zip(without.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize("epsilon", [0.0, 0.5, float("nan")])
def test_bad_values(epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"epsilon must lie between 0 and 0\.5, got"):
        OutputBias(epsilon=epsilon)


@pytest.mark.parametrize(
    ("cls", "kwargs"), [(VAE, {"likelihood": FixedNormal}), (VAE, {"likelihood": Dimmed}), (ConvVAE, {})]
)
def test_what_has_no_such_bias(tmp_path: Path, cls: type[VAE], kwargs: dict) -> None:
    with pytest.raises(ValueError, match="needs a Bernoulli likelihood and a dense last layer"):
        quiet_trainer(tmp_path, callbacks=[OutputBias()]).fit(build(cls, **kwargs), tiny_data())
