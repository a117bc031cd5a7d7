"""Two variants combine by inheritance."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import BOUNDS, MODELS, build, fit, losses
from short import few
from torch import Tensor, nn

from vae_zoo import hub
from vae_zoo.models import IWAE, VAE, BetaVAE, ConvVAE

every_model = pytest.mark.parametrize("cls", MODELS)
every_bound = pytest.mark.parametrize("cls", BOUNDS)


class BetaIW(BetaVAE, IWAE):
    """Two variants, combined as anyone would."""


class ConvBeta(BetaVAE, ConvVAE):
    pass


class TestCombination:
    def test_has_the_arguments_of_both(self, images: Tensor) -> None:
        model = build(BetaIW, beta=2.0, num_samples=3)
        assert (model.beta, model.num_samples) == (2.0, 3)
        assert build(BetaIW).num_samples == 5
        assert losses(model, images)["loss"] != losses(build(BetaIW, beta=4.0, num_samples=3), images)["loss"]
        assert any(isinstance(m, nn.Conv2d) for m in build(ConvBeta).modules())

    @pytest.mark.parametrize("cls", few([BetaIW, ConvBeta], 1))
    def test_survives_a_checkpoint(self, cls: type[VAE], tmp_path: Path, images: Tensor) -> None:
        model, trainer = fit(tmp_path, cls, kwargs={"beta": 2.0, "latent_dim": 3})
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        for again in (cls.load_from_checkpoint(tmp_path / "a.ckpt"), hub.load(tmp_path / "a.ckpt")):
            assert type(again) is cls
            assert again.beta == 2
            assert torch.equal(again.eval().reconstruct(images), model.eval().reconstruct(images))
