"""Models with a replaced prior: bounds, evidence, checkpoints, sharing and export."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import BOUNDS, MODELS, LinearGaussian, labels, saved, tiny, tiny_data
from lightning.pytorch import Trainer
from short import few
from torch import Tensor
from torch.distributions import MultivariateNormal

import vae_zoo
from vae_zoo.data import Sprites
from vae_zoo.distributions import check_pair
from vae_zoo.elbo import post_hoc_prior
from vae_zoo.evaluation import ais
from vae_zoo.models import (
    AE,
    IWAE,
    RAE,
    RAESN,
    VAE,
    VQVAE,
    Autoencoder,
    ConditionalVAE,
    LadderVAE,
    PriorAE,
    TwoStageVAE,
    VampVAE,
)
from vae_zoo.samplers import (
    GMM,
    KDE,
    CodeDensity,
    Density,
    FittedNormal,
    TwoStage,
    check_replaceable,
    latents,
    with_prior,
)
from vae_zoo.testing.subject import quiet_trainer


def fitted(model: Any, data: Sprites, cls: type = GMM, **kwargs: Any) -> Any:
    """A density fitted to the latents of a model, or to its codes."""
    z = list(latents(model, data))
    if isinstance(model, VQVAE):
        return CodeDensity(model.code_prior.grid, model.code_prior.num_codes, width=8, num_layers=1, max_epochs=2).fit(
            z
        )
    return cls(model.latent_shape, **{"num_components": 3} if cls is GMM and not kwargs else kwargs).fit(z)


def replaced(model: Any, data: Sprites, *args: Any, **kwargs: Any) -> Any:
    return with_prior(model, fitted(model, data, *args, **kwargs))


def refusal(model: Any, kind: type) -> str:
    """Why a model cannot have a kind of density as its prior; empty if it can."""
    try:
        check_replaceable(model, kind)
        if kind is GMM and model.posterior.is_density:
            check_pair(model.posterior, GMM(model.latent_shape))
    except ValueError as reason:
        return str(reason)
    return ""


@pytest.mark.parametrize("cls", few(MODELS, 3, VAE, VQVAE, AE), ids=lambda cls: cls.__name__)
def test_every_model_takes_a_density_or_says_why_not(
    cls: type[Autoencoder], data: Sprites, images: Tensor, tmp_path: Path
) -> None:
    model = tiny(cls).eval()
    kind = CodeDensity if issubclass(cls, VQVAE) else GMM
    reason = refusal(model, kind)
    if reason:
        whys = ("cannot be replaced", "has no prior", "GMM do not go together")
        assert any(why in reason for why in whys)
        if kind is GMM:
            with pytest.raises(ValueError, match="|".join(whys)):
                replaced(model, data)
        return
    made = replaced(model, data)
    assert type(made) is (PriorAE if issubclass(cls, AE) else cls)
    assert post_hoc_prior(made)
    assert not post_hoc_prior(model)
    c = labels(model, images)
    torch.testing.assert_close(made.embed(images, c), model.embed(images, c))
    again = vae_zoo.load(saved(tmp_path, made))
    torch.manual_seed(0)
    x = made.sample(5)
    torch.manual_seed(0)
    assert torch.equal(again.sample(5), x)


@pytest.mark.parametrize("cls", few([AE, RAE, RAESN], 1))
def test_an_autoencoder_without_a_prior_can_be_sampled_from(
    cls: type[Autoencoder], data: Sprites, images: Tensor
) -> None:
    model = tiny(cls).eval()
    assert not hasattr(model, "sample")
    made = replaced(model, data, FittedNormal)
    assert isinstance(made, PriorAE)
    torch.testing.assert_close(made.reconstruct(images), model.reconstruct(images))
    assert type(made.likelihood) is type(model.likelihood)
    z = torch.cat(list(latents(model, data)))
    assert torch.equal(z[:16], model.embed(images)), "codes, without a draw"
    torch.testing.assert_close(made.prior().mean, z.mean(0))
    assert made.sample(3).shape == (3, 1, 8, 8)
    assert ais(made, images[:2], num_steps=5).value.isfinite().all()


@pytest.mark.exhaustive
def test_the_ones_that_have_a_prior_of_their_own(data: Sprites) -> None:
    refused = set()
    for cls in BOUNDS:
        try:
            replaced(tiny(cls).eval(), data)
        except ValueError:
            refused.add(cls)
    assert {LadderVAE, TwoStageVAE, VampVAE} <= refused
    assert VAE not in refused
    with pytest.raises(ValueError, match="part of the model, and cannot be replaced: it is the mixture of the poster"):
        replaced(tiny(VampVAE).eval(), data)


@pytest.mark.parametrize("cls", few([GMM, KDE, FittedNormal, TwoStage], 2, GMM, KDE))
def test_the_evidence_is_that_of_the_new_prior(cls: type[Density]) -> None:
    """Of a linear-Gaussian model, from draws of the new prior: the estimate averages to it and the bound is below."""
    torch.manual_seed(0)
    model = LinearGaussian(shape=(5,), latent_dim=2, widen=1.2)
    z = torch.randn(500, 2).double() @ torch.tensor([[0.5, 0.3], [0.0, 0.8]]).double() + 0.7
    density = cls((2,), **{"num_components": 2} if cls is GMM else {})  # type: ignore[arg-type]
    made = LinearGaussian(shape=(5,), latent_dim=2, widen=1.2)
    made.load_state_dict(model.state_dict())
    made.latent_prior = density.double().fit(z)
    x = made.sample(6, mean=False)
    with torch.no_grad():
        draws = made.prior().sample((200_000,))
        log_px = torch.stack([made.decode(draws, None).log_prob(row).logsumexp(0) for row in x])
        exact = log_px - torch.log(torch.tensor(200_000.0))
        elbo = torch.stack([made.elbo(x, num_samples=200).value for _ in range(5)]).mean(0)
    estimate = made.log_evidence(x, num_samples=5000)
    torch.testing.assert_close(estimate, exact, rtol=0, atol=0.1)
    assert (elbo < exact + 0.03).all()
    if cls is FittedNormal:
        weight, bias = made.decoder.layers[1].weight, made.decoder.layers[1].bias
        p: Any = made.prior()
        covariance = weight @ p.scale_tril @ (weight @ p.scale_tril).T + 0.25 * torch.eye(5).double()
        closed = MultivariateNormal(bias + weight @ p.mean, covariance).log_prob(x)
        torch.testing.assert_close(estimate, closed.detach(), rtol=0, atol=0.05)


def test_a_fitted_prior_raises_the_bound(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, data = tiny(VAE), tiny_data(num_examples=800, batch_size=50)
    quiet_trainer(tmp_path, max_epochs=10).fit(model, data)
    made = replaced(model, data, GMM, num_components=5)
    before, after = (quiet_trainer(tmp_path).test(m, data, verbose=False)[0]["test/elbo"] for m in (model, made))
    assert after > before


@pytest.mark.exhaustive
def test_annealed_importance_sampling_needs_a_density(data: Sprites, images: Tensor) -> None:
    model = replaced(tiny(VAE).eval(), data, TwoStage, hidden=(8,), max_epochs=2)
    with pytest.raises(TypeError, match="TwoStage gives draws of a bound"):
        ais(model, images[:2], num_steps=5)
    ais(replaced(tiny(VAE).eval(), data), images[:2], num_steps=5)


class TestLatents:
    def test_are_draws_of_the_posterior_and_not_its_means(self, data: Sprites, images: Tensor) -> None:
        model = tiny(VAE).eval()
        z = torch.cat(list(latents(model, data, seed=3)))
        assert z.shape == (48, 4)
        q = model.encode(images)
        noise = (z[:16] - q.mean) / q.stddev
        assert 0.5 < noise.std() < 1.5

    def test_depend_on_the_seed_alone(self, data: Sprites) -> None:
        model, state = tiny(VAE).eval(), torch.get_rng_state()
        first = torch.cat(list(latents(model, data, seed=3)))
        assert torch.equal(torch.get_rng_state(), state)
        torch.randn(3)
        assert torch.equal(torch.cat(list(latents(model, tiny_data(), seed=3))), first)
        assert not torch.equal(torch.cat(list(latents(model, data, seed=4))), first)

    def test_of_a_part(self, data: Sprites) -> None:
        model = tiny(VAE).eval()
        assert torch.cat(list(latents(model, data, num=20))).shape == (20, 4)
        assert torch.cat(list(latents(model, data, "val", num=100))).shape == (8, 4)
        with pytest.raises(ValueError, match="num must be at least 1, got 0"):
            list(latents(model, data, num=0))

    def test_of_labels_and_of_codes(self, data: Sprites) -> None:
        assert torch.cat(list(latents(tiny(ConditionalVAE), data))).shape == (48, 4)
        codes = torch.cat(list(latents(tiny(VQVAE), data)))
        assert not codes.is_floating_point()


class TestRefusals:
    def test_a_density_that_is_not_fitted(self) -> None:
        with pytest.raises(ValueError, match="GMM is not fitted yet"):
            with_prior(tiny(VAE), GMM((4,)))

    def test_latents_of_another_shape(self) -> None:
        with pytest.raises(ValueError, match=r"GMM is for latents of shape \(3,\), the model's are \(4,\)"):
            with_prior(tiny(VAE), GMM((3,), num_components=2).fit(torch.randn(20, 3)))

    def test_codes_and_no_codes(self, data: Sprites) -> None:
        codes = fitted(tiny(VQVAE).eval(), data)
        with pytest.raises(ValueError, match="VAE has no discrete codes, which CodeDensity is over"):
            with_prior(tiny(VAE), codes)
        with pytest.raises(ValueError, match="VQVAE has discrete codes, which GMM is not over: take CodeDensity"):
            with_prior(tiny(VQVAE), GMM((4,), num_components=2).fit(torch.randn(20, 4)))

    def test_training(self, data: Sprites, tmp_path: Path) -> None:
        for model in (tiny(VAE, prior=GMM), replaced(tiny(VAE), data), tiny(VQVAE, code_prior=CodeDensity)):
            with pytest.raises(ValueError, match=r"(GMM|CodeDensity) is fitted after training: fit with another prior"):
                quiet_trainer(tmp_path, max_epochs=1).fit(model, data)


def test_what_a_caller_has_changed_is_kept(data: Sprites) -> None:
    model = tiny(IWAE, num_samples=3).eval()
    model.num_samples = 7
    made = replaced(model, data)
    assert made.num_samples == 7
    assert not made.training
    assert with_prior(model.train(), fitted(model, data)).training
    assert with_prior(model.double(), fitted(model, data)).dtype == torch.float64


def test_a_shared_model(data: Sprites, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    made = replaced(tiny(VAE).eval(), data, KDE, num_points=20)
    vae_zoo.save_pretrained(made, tmp_path / "shared")
    again = vae_zoo.from_pretrained(tmp_path / "shared")
    torch.manual_seed(0)
    x = made.sample(5)
    torch.manual_seed(0)
    assert torch.equal(again.sample(5), x)
    assert "draws of the prior, a KDE fitted after training" in (tmp_path / "shared" / "README.md").read_text()


def test_the_report_names_the_prior(data: Sprites, capsys: pytest.CaptureFixture[str]) -> None:
    from vae_zoo.callbacks import Report

    made = replaced(tiny(VAE).eval(), data)
    trainer = Trainer(logger=False, enable_progress_bar=False, enable_model_summary=False, callbacks=[Report()])
    trainer.test(made, data, verbose=False)
    assert "prior GMM (post hoc)" in " ".join(capsys.readouterr().out.split())


def test_a_model_of_a_partial(data: Sprites) -> None:
    made = replaced(tiny(VAE, prior=partial(FittedNormal)).eval(), data)
    assert made.recorded()["init_args"]["prior"]["class_path"] == "vae_zoo.samplers.GMM"
