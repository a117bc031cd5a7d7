"""Samples, embeddings and reconstructions: what is drawn, and from which distribution."""

from __future__ import annotations

import math

import pytest
import torch
from helpers import SHAPE, linear, tiny
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import ConditionalNormal, Normal
from vae_zoo.distributions.normal import independent
from vae_zoo.elbo import depends_on_condition
from vae_zoo.models import AE, VAE, VQVAE, ConditionalVAE, LadderVAE, VampVAE


class Shifted(VAE):
    """A VAE whose prior sits at 7."""

    def prior(self, c: Tensor | None = None) -> Distribution:
        return independent(Normal(torch.full((self.latent_dim,), 7.0), torch.full((self.latent_dim,), -3.0)), 1)


class Conditional(VAE):
    """A VAE whose prior depends on the condition."""

    def prior(self, c: Tensor | None = None) -> Distribution:
        loc = c.float()[:, None].expand(-1, self.latent_dim)
        return independent(Normal(loc, torch.full_like(loc, -3.0)), 1)


class TestSample:
    @pytest.mark.parametrize("num", [0, 1, 5])
    def test_shape(self, num: int) -> None:
        assert tiny(VAE).sample(num).shape == (num, *SHAPE)

    def test_comes_from_the_models_own_prior(self, monkeypatch: pytest.MonkeyPatch) -> None:
        latents: list[Tensor] = []
        for cls in (VAE, Shifted):
            model = tiny(cls)
            decode = model.decode
            model.decode = lambda z, c=None, decode=decode: latents.append(z) or decode(z, c)
            model.sample(200)
        assert latents[0].shape == latents[1].shape == (200, 4)
        assert abs(latents[0].mean()) < 0.2
        assert latents[1].mean() == pytest.approx(7, abs=0.1)
        assert tiny(Shifted).prior().log_prob(latents[1]).mean() > tiny(Shifted).prior().log_prob(latents[0]).mean()

    def test_divergence_is_from_the_models_own_prior(self, images: Tensor) -> None:
        model = tiny(Shifted)
        terms = model.elbo(images)
        torch.testing.assert_close(terms.log_pz, model.prior().log_prob(terms.z))
        assert terms.kl.min() > 100

    def test_a_prior_with_conditions(self, images: Tensor) -> None:
        model, c = tiny(Conditional), torch.arange(16)
        assert model.elbo(images, c, 3).log_pz.shape == (3, 16)
        assert model.sample(16, c).shape == (16, *SHAPE)

    def test_mean_or_draw(self) -> None:
        model = tiny(VAE)
        draw = model.sample(50, mean=False)
        assert set(draw.unique().tolist()) == {0.0, 1.0}
        mean = model.sample(50)
        assert ((mean > 0) & (mean < 1)).all()

    def test_agrees_with_the_marginal_of_the_linear_gaussian_model(self) -> None:
        model, *_ = linear()
        x = model.sample(50_000, mean=False)
        weight, bias = model.decoder.layers[1].weight, model.decoder.layers[1].bias
        covariance = weight @ weight.T + model.scale**2 * torch.eye(5, dtype=torch.float64)
        torch.testing.assert_close(x.mean(0), bias, rtol=0, atol=0.05)
        torch.testing.assert_close(torch.cov(x.T), covariance, rtol=0, atol=0.1)


def test_embed_and_reconstruct_do_not_sample(images: Tensor) -> None:
    model = tiny(VAE)
    for mode in (True, False):
        model.train(mode)
        assert torch.equal(model.embed(images), model.embed(images))
        assert torch.equal(model.reconstruct(images), model.reconstruct(images))
        assert torch.equal(model(images), model.encode(images).mean)
        assert not torch.equal(model.embed(images, sample=True), model.embed(images, sample=True))
        assert not torch.equal(model.reconstruct(images, sample=True), model.reconstruct(images, sample=True))
    assert model.embed(images).shape == (16, 4)
    assert model.reconstruct(images).shape == images.shape


def test_grey_images_are_not_broadcast(images: Tensor) -> None:
    """(B, H, W) against (B, 1, H, W) would broadcast to B x B densities, and train on nonsense."""
    model = tiny(VAE)
    with pytest.raises(ValueError, match=r"for examples of shape \(1, 8, 8\), the data have \(8, 8\)"):
        model.elbo(images[:, 0])


def test_nats_of_a_uniform_model() -> None:
    """Logits of 0: every image costs log 2 a pixel, whatever the latent."""
    model = tiny(VAE)
    torch.nn.init.zeros_(model.decoder.layers[-1].weight)
    torch.nn.init.zeros_(model.decoder.layers[-1].bias)
    losses = model.losses(torch.rand(6, *SHAPE))
    assert losses["reconstruction"].item() == pytest.approx(-64 * math.log(2), rel=1e-6)


class TestConditionsThatNothingLooksAt:
    @pytest.mark.parametrize("cls", [VAE, LadderVAE, VampVAE, VQVAE])
    def test_are_refused(self, cls: type) -> None:
        model = tiny(cls)
        with pytest.raises(ValueError, match=rf"^{cls.__name__} samples under no condition, got c of shape \(4,\)"):
            model.sample(4, torch.arange(4))
        assert model.sample(4).shape == (4, *SHAPE)
        assert not depends_on_condition(model, torch.arange(4))

    def test_are_taken_where_prior_or_decoder_looks(self) -> None:
        class Bright(VAE):
            """A user's own, without any sign of it but its code."""

            def decode(self, z: torch.Tensor, c: torch.Tensor | None = None) -> torch.distributions.Distribution:
                return super().decode(z if c is None else z + c[:, None], c)

        for model in (tiny(Bright), tiny(VAE, prior=ConditionalNormal), tiny(ConditionalVAE)):
            assert model.sample(3, torch.arange(3)).shape == (3, *SHAPE)
            assert depends_on_condition(model, torch.arange(3))

    def test_an_autoencoder_says_why_it_has_no_samples(self) -> None:
        model = tiny(AE)
        assert not hasattr(model, "sample")
        with pytest.raises(AttributeError, match=r"^AE has no prior to sample from"):
            model.sample(4)
        with pytest.raises(AttributeError, match="has no attribute 'other'"):
            _ = model.other
