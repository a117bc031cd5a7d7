"""The VAE-GAN: three objectives in one scalar, each for its own network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import build, losses, quiet_trainer
from torch import Tensor
from torch.nn.functional import softplus

from vae_zoo.data import Digits
from vae_zoo.models import VAEGAN
from vae_zoo.nn import Dense
from vae_zoo.penalties.base import draws_like
from vae_zoo.testing import examine


def gradients(loss: Tensor, module: torch.nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(module.parameters()), retain_graph=True, allow_unused=True))


@pytest.fixture
def model() -> VAEGAN:
    torch.manual_seed(0)
    return build(VAEGAN, gamma=0.3)


def separate(model: VAEGAN, x: Tensor, seed: int) -> dict[str, Tensor]:
    """The three objectives of the paper, with nothing held fixed."""
    torch.manual_seed(seed)
    q, p = model.encode(x), model.prior()
    z = q.rsample()
    drawn, sampled = model.decode(z).mean, model.decode(draws_like(z, p)).mean
    (real_features, real), (features, fake), (_, prior_fake) = (model.discriminator(a) for a in (x, drawn, sampled))
    distance = 0.5 * (real_features - features).square().sum(1).mean()
    kl = (-q.entropy() - p.log_prob(q.mean) + 0.5 * q.variance.sum(1)).mean()
    return {
        "encoder": kl + distance,
        "decoder": model.gamma * distance + softplus(-fake).mean() + softplus(-prior_fake).mean(),
        "discriminator": softplus(-real).mean() + softplus(fake).mean() + softplus(prior_fake).mean(),
    }


@pytest.mark.parametrize("part", ["encoder", "decoder", "discriminator"])
def test_each_network_gets_the_gradient_of_its_own_objective(model: VAEGAN, part: str, images: Tensor) -> None:
    module = getattr(model, part)
    wanted = gradients(separate(model, images, 1)[part], module)
    found = gradients(losses(model, images)["loss"], module)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_equal_pictures_are_no_distance_apart(model: VAEGAN, images: Tensor) -> None:
    assert model._distance(model.discriminator, images, images).item() == 0


@pytest.mark.exhaustive
@pytest.mark.slow
def test_reconstructs_after_a_short_fit(tmp_path: Path) -> None:
    """Compared in few features before the logit, as by ``Critic``, all pictures are one pattern: above 1.5 here."""
    dense = partial(Dense, hidden=[128, 128])
    model, data = VAEGAN(shape=(1, 8, 8), latent_dim=8, encoder=dense, decoder=dense), Digits(batch_size=64)
    quiet_trainer(tmp_path, max_epochs=12, limit_val_batches=0).fit(model, data)
    x, mean = data.examples("test"), data.examples("train").mean(0)
    with torch.no_grad():
        unexplained = (x - model.eval().reconstruct(x)).square().sum() / (x - mean).square().sum()
    assert unexplained < 0.7


class HelpsTheDiscriminator(VAEGAN):
    """The sign of the decoder's term turned, as a leak of the discriminator's gradient would."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        return values | {"loss": values["loss"] - 2 * values["decoder_loss"]}


class LeaksIntoTheEncoder(VAEGAN):
    """The encoder deceives the discriminator too."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        return values | {"loss": values["loss"] - self.decode(self.encode(x).mean).mean.mean()}


@pytest.mark.parametrize("cls", [HelpsTheDiscriminator, LeaksIntoTheEncoder])
def test_a_wrong_route_is_seen(cls: type) -> None:
    assert examine(VAEGAN, only=("routing",)).passed
    assert not examine(cls, only=("routing",)).passed


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"gamma": -1.0}, "gamma must be at least 0 and finite, got -1.0"),
        ({"discriminator_lr": 0.0}, "discriminator_lr must be positive and finite, got 0.0"),
    ],
)
def test_refuses(given: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        build(VAEGAN, **given)
