"""Likelihood regret, against its closed form in a linear-Gaussian model."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Batches, quiet_trainer, tiny
from torch import Tensor
from torch.distributions import MultivariateNormal, kl_divergence

from vae_zoo.callbacks import PredictionWriter
from vae_zoo.distributions import MSSSIM, FixedNormal
from vae_zoo.evaluation import likelihood_regret
from vae_zoo.models import AE, VAE, ConditionalVAE, LadderVAE
from vae_zoo.nn import Dense
from vae_zoo.training.steps import seed_of

SCALE = 0.5


def linear_model() -> VAE:
    plain = partial(Dense, hidden=[])
    torch.manual_seed(0)
    return VAE(
        shape=(5,), latent_dim=2, encoder=plain, decoder=plain, likelihood=partial(FixedNormal, scale=SCALE)
    ).eval()


@torch.no_grad()
def exact_regret(model: VAE, x: Tensor) -> Tensor:
    """The bound is log p(x) - KL(q || p(z|x)): the best normal with independent dimensions has the inverse variances
    of the posterior's precision, and its mean."""
    layer = model.decoder.layers[1]
    precision = layer.weight.T @ layer.weight / SCALE**2 + torch.eye(2)
    mean = (x - layer.bias) @ layer.weight @ torch.linalg.inv(precision) / SCALE**2
    posterior = MultivariateNormal(mean, precision_matrix=precision)
    q = model.encode(x)
    own = MultivariateNormal(q.mean, torch.diag_embed(q.variance))
    best = MultivariateNormal(mean, torch.diag(1 / precision.diagonal()))
    return kl_divergence(own, posterior) - kl_divergence(best, posterior)


@pytest.mark.exhaustive
def test_regret_is_what_the_best_posterior_gains() -> None:
    model, x = linear_model(), torch.randn(6, 5)
    found = likelihood_regret(model, x, num_steps=300, num_samples=2000)
    torch.testing.assert_close(found, exact_regret(model, x), rtol=0.05, atol=0.05)
    part = likelihood_regret(model, x[:1], num_steps=300, num_samples=2000)
    torch.testing.assert_close(found[:1], part)  # which is alone in its part of the batch in both
    few = likelihood_regret(model, x, num_steps=3, num_samples=2000)
    assert bool(((few >= 0) & (few < found)).all())


def test_regret_changes_nothing_and_is_the_same_again() -> None:
    model, x = tiny(VAE), torch.rand(3, 1, 8, 8)
    before = [p.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    first = likelihood_regret(model, x, num_steps=3)
    assert torch.equal(first, likelihood_regret(model, x, num_steps=3))
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (partial(tiny, AE), "regret: the posterior of AE is not one family of the encoder's output."),
        (partial(tiny, LadderVAE), "regret: the posterior of LadderVAE is not one family of the encoder's output."),
        (partial(tiny, ConditionalVAE), "regret: the posterior of ConditionalVAE is not"),
        (partial(tiny, VAE, shape=(1, 16, 16), likelihood=MSSSIM), "MSSSIM is an energy and not a density"),
    ],
)
def test_models_without_a_regret(model: partial, said: str) -> None:
    with pytest.raises(ValueError, match=f"^{said}"):
        likelihood_regret(model(), torch.rand(2, 1, 8, 8))


def test_regret_in_the_files_of_predict(tmp_path: Path) -> None:
    """Within the inference mode of the Trainer, and beside the log-densities of features, which sum up to log_px."""
    model, x = linear_model(), torch.randn(7, 5)
    writer = PredictionWriter(num_regret=9, per_feature=True)
    quiet_trainer(tmp_path, callbacks=[writer]).predict(model, Batches(x[:4], x[4:]), return_predictions=False)
    with np.load(tmp_path / "scores.npz") as scores, np.load(tmp_path / "features.npz") as features:
        alone = partial(likelihood_regret, model, num_steps=9)
        parts = [alone(part, seed=seed_of(part, number)) for number, part in enumerate(x.split(4))]
        np.testing.assert_allclose(scores["regret"], torch.cat(parts), rtol=1e-4)
        own = features["log_px_per_feature"]
        np.testing.assert_allclose(own.sum(1), scores["log_px"], rtol=1e-5)
        z = model.embed(x)
        wanted = torch.distributions.Normal(model.decoder(z).reshape(7, 5), SCALE).log_prob(x)
        np.testing.assert_allclose(own, wanted.detach(), rtol=1e-4)
    head = (tmp_path / "features.csv").read_text().splitlines()[0]
    assert head == ",".join(["index", *(f"log_px_per_feature{d}" for d in range(5))])


def test_features_of_an_energy(tmp_path: Path) -> None:
    model = tiny(VAE, shape=(1, 16, 16), likelihood=MSSSIM)
    trainer = quiet_trainer(tmp_path, callbacks=[PredictionWriter(per_feature=True)])
    with pytest.raises(ValueError, match=r"^per_feature: the log-density of MSSSIM is not known to be a sum"):
        trainer.predict(model, Batches(torch.rand(2, 1, 16, 16)), return_predictions=False)
