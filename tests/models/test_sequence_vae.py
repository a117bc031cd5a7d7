from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import build, quiet_trainer

from vae_zoo.callbacks import LinearAnnealing
from vae_zoo.data import Tokens
from vae_zoo.models import VAE, SequenceVAE
from vae_zoo.nn import Dense, RecurrentDecoder, RecurrentEncoder


def test_the_weight_rises_in_training_and_is_one_in_evaluation(images: torch.Tensor) -> None:
    model = build(SequenceVAE, warmup=100, free_bits=0.0)
    for step, weight in ((0, 0.0), (25, 0.25), (100, 1.0), (900, 1.0)):
        model.warmup.set(step)
        torch.manual_seed(0)
        found = model.train().losses(images)
        torch.testing.assert_close(found["loss"], weight * found["kl"] - found["reconstruction"])
        torch.manual_seed(0)
        found = model.eval().losses(images)
        torch.testing.assert_close(found["loss"], -found["elbo"])


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="num_steps must be at least 1, got 0"):
        build(SequenceVAE, warmup=0)
    trainer = quiet_trainer(tmp_path, callbacks=[LinearAnnealing(num_steps=3)])
    with pytest.raises(ValueError, match="SequenceVAE has its warm-up, which LinearAnnealing would work against"):
        trainer.fit(build(SequenceVAE), Tokens())


@pytest.mark.exhaustive
@pytest.mark.slow
def test_the_posterior_does_not_collapse(tmp_path: Path) -> None:
    """Without warm-up, word dropout and free bits, the rate of the same fit is close to 0."""
    torch.manual_seed(0)
    data = Tokens(batch_size=64, max_length=13)
    small = {
        "encoder": partial(RecurrentEncoder, hidden=16),
        "decoder": partial(Dense, hidden=[16]),
        "latent_dim": 4,
        "optimizer": partial(torch.optim.Adam, lr=5e-3),
    }
    rates = {}
    for cls, dropout, given in ((SequenceVAE, 0.4, {"warmup": 60}), (VAE, 0.0, {})):
        network = partial(RecurrentDecoder, hidden=32)
        likelihood = partial(data.likelihood, network=network, word_dropout=dropout)
        model = cls(shape=data.shape, likelihood=likelihood, **small, **given)
        trainer = quiet_trainer(tmp_path, max_epochs=5)
        trainer.fit(model, data)
        rates[cls] = float(trainer.callback_metrics["val/kl"])
    assert rates[SequenceVAE] > 1.5, "free bits are 2 nats"
    assert rates[VAE] < 0.5
