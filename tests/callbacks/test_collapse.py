from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
from helpers import Record, quiet_trainer, tiny, tiny_data

from vae_zoo.callbacks import CollapseWarning
from vae_zoo.models import AE, VAE


def test_warns_once_of_a_posterior_that_says_nothing(tmp_path: Path) -> None:
    model, logger = tiny(VAE, latent_dim=3), Record()
    for p in model.encoder.parameters():
        torch.nn.init.zeros_(p.requires_grad_(False))
    callback = CollapseWarning(patience=2)
    with pytest.warns(UserWarning, match="posterior collapse: 0 of 3 latent dimensions vary") as caught:
        quiet_trainer(tmp_path, max_epochs=4, callbacks=[callback], logger=logger).fit(model, tiny_data())
    assert sum("collapse" in str(w.message) for w in caught) == 1
    assert list(logger.curve("val/active_units").values()) == [0, 0, 0, 0]


@pytest.mark.parametrize("cls", [VAE, AE])
def test_is_silent_of_one_that_does(cls: type, tmp_path: Path) -> None:
    model, logger = tiny(cls, latent_dim=3), Record()
    for p in model.encoder.parameters():
        p.requires_grad_(False).mul_(3)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", ".*collapse")
        trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[CollapseWarning(patience=1)], logger=logger)
        trainer.fit(model, tiny_data())
    means = model.embed(tiny_data().load("val").x.float() / 255)
    expected = int((means.var(0, correction=0) > 0.01).sum())
    assert expected > 0
    assert list(logger.curve("val/active_units").values()) == [expected] * 3


@pytest.mark.parametrize("name", ["min_active", "patience", "num_batches"])
def test_errors(name: str) -> None:
    with pytest.raises(ValueError, match="arguments must be at least 1, got"):
        CollapseWarning(**{name: 0})


def test_goes_on_counting_in_a_resumed_fit(tmp_path: Path) -> None:
    def fit(epochs: int, resumed: Path | None = None) -> None:
        model = tiny(VAE, latent_dim=3)
        for p in model.encoder.parameters():
            torch.nn.init.zeros_(p.requires_grad_(False))
        trainer = quiet_trainer(tmp_path, max_epochs=epochs, callbacks=[CollapseWarning(patience=3)])
        trainer.fit(model, tiny_data(), ckpt_path=resumed)
        trainer.save_checkpoint(tmp_path / "a.ckpt")

    fit(2)
    with pytest.warns(UserWarning, match="posterior collapse"):
        fit(3, tmp_path / "a.ckpt")


def test_warns_of_a_small_rate_though_means_vary(tmp_path: Path) -> None:
    model, logger = tiny(VAE, latent_dim=3), Record()
    for p in model.encoder.parameters():
        p.requires_grad_(False).zero_()
    with torch.no_grad():
        last = [layer for layer in model.encoder.modules() if isinstance(layer, torch.nn.Linear)][-1]
        first = next(layer for layer in model.encoder.modules() if isinstance(layer, torch.nn.Linear))
        for layer in model.encoder.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.copy_(torch.eye(*layer.weight.shape))
        first.weight.fill_(1 / 64)
        last.weight[3:] = 0  # σ is that of the prior
        z = model.embed(tiny_data().load("val").x.float() / 255)
        last.weight[:3] *= 0.2 / z.std(0, correction=0)[:, None]  # of a variance of .04
        last.bias[:3] = -z.mean(0) * 0.2 / z.std(0, correction=0)
    trainer = quiet_trainer(tmp_path, max_epochs=3, callbacks=[CollapseWarning(patience=2)], logger=logger)
    with pytest.warns(UserWarning, match=r"posterior collapse: the latents carry 0\.06 nats about") as caught:
        trainer.fit(model, tiny_data())
    assert sum("collapse" in str(w.message) for w in caught) == 1
    assert list(logger.curve("val/active_units").values()) == [3, 3, 3]
    assert list(logger.curve("val/informative_units").values()) == [0, 0, 0]
