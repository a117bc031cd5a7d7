"""The Hamiltonian VAE: its integrator, the density of its draws, and bounds against an exact evidence."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from certainty import Certain, play
from helpers import build, linear, losses, quiet_trainer, small, takes, tiny, tiny_data
from torch import Tensor, nn

from vae_zoo.data import Arrays, BreastCancer, Counts, DataModule, Digits, Tokens
from vae_zoo.distributions import (
    AutoregressiveTokens,
    FixedNormal,
    HamiltonianPosterior,
    Normal,
    OptimalNormal,
    UniformSphere,
    VonMisesFisher,
)
from vae_zoo.distributions.normal import independent
from vae_zoo.models import (
    IWAE,
    PIWAE,
    RHVAE,
    VAE,
    BetaTCVAE,
    ConditionalVAE,
    HamiltonianVAE,
    IWAEDReG,
    LadderVAE,
    VampVAE,
)
from vae_zoo.nn import Dense

smooth = partial(Dense, hidden=[8], activation=nn.ELU)


class ConditionalHamiltonian(HamiltonianVAE, ConditionalVAE):
    """Two variants in one."""


class HamiltonianIWAE(IWAE, HamiltonianVAE):
    """Two variants in one."""


def posterior(num: int, temperature: float = 1.0, dim: int = 3) -> HamiltonianPosterior:
    start = independent(Normal(torch.randn(2, dim).double(), 0.3 * torch.randn(2, dim).double()), 1)
    hot = torch.tensor(math.sqrt(temperature)).double()
    alphas = [(1 / hot) ** (1 / max(num, 1))] * num
    matrix = torch.randn(dim, dim).double()

    def log_joint(z: Tensor) -> Tensor:
        return -torch.cosh(0.3 * z @ matrix).sum(-1)

    return HamiltonianPosterior(start, log_joint, torch.linspace(0.1, 0.3, dim).double(), [hot, *alphas])


@pytest.mark.parametrize(("num", "temperature"), [(1, 1.0), (4, 1.0), (4, 3.0)])
def test_volume_is_preserved_up_to_the_cooling(num: int, temperature: float) -> None:
    q = posterior(num, temperature)

    def move(both: Tensor) -> Tensor:
        return torch.cat([part[0] for part in q.move(both[None, :3], both[None, 3:])])

    jacobian = torch.autograd.functional.jacobian(move, torch.randn(6).double())
    torch.testing.assert_close(jacobian.det(), torch.tensor(temperature).double() ** -1.5)
    assert (jacobian - torch.eye(6).double()).abs().max() > 0.1


def test_turned_round_it_comes_back() -> None:
    q, z, momentum = posterior(5), torch.randn(7, 2, 3).double(), torch.randn(7, 2, 3).double()
    there, after = q.move(z, momentum)
    back, before = q.move(there, -after)
    assert (there - z).abs().max() > 0.1
    torch.testing.assert_close(back, z, rtol=0, atol=1e-12)
    torch.testing.assert_close(-before, momentum, rtol=0, atol=1e-12)


def test_energy_is_kept_to_second_order_of_the_step() -> None:
    errors = []
    for scale in (1.0, 0.5):
        torch.manual_seed(0)
        q = posterior(int(8 / scale))
        q.step_size = q.step_size * scale
        z, momentum = torch.randn(50, 2, 3).double(), torch.randn(50, 2, 3).double()
        end, after = q.move(z, momentum)
        error = q.log_joint(end) - q.log_joint(z) - 0.5 * (after.square() - momentum.square()).sum(-1)
        errors.append(error.abs().mean().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)


def test_density_of_own_draws_alone() -> None:
    q = posterior(2)
    with pytest.raises(ValueError, match="knows the density of its last draw alone"):
        q.log_prob(torch.zeros(2, 3).double())
    z = q.rsample((5,))
    assert q.log_prob(z).shape == (5, 2)
    with pytest.raises(ValueError, match=r"^HamiltonianPosterior knows the density of its last draw alone"):
        q.log_prob(z.clone())
    again = q.rsample((5,))
    with pytest.raises(ValueError, match="last draw alone"):
        q.log_prob(z)
    assert q.log_prob(again).requires_grad is False


def test_without_a_step_it_is_the_vae(images: Tensor) -> None:
    model, vae = tiny(HamiltonianVAE, num_leapfrog=0), tiny(VAE)
    vae.load_state_dict(model.state_dict())
    first, second = losses(model, images), losses(vae, images)
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_with_steps_of_no_length_it_is_the_vae_by_samples(images: Tensor) -> None:
    """Whatever the temperature: the momentum's terms cancel one by one."""
    model = tiny(HamiltonianVAE, step_size=1e-9, start_temperature=4.0).double()
    terms = model.elbo(images.double(), num_samples=3)
    expected = terms.q.start.log_prob(terms.z) - terms.log_pz
    torch.testing.assert_close(terms.kl, expected.mean(0), rtol=0, atol=1e-6)


def test_cooling() -> None:
    model = build(HamiltonianVAE, num_leapfrog=4, start_temperature=9.0)
    hot, *alphas = model.cooling()
    assert hot.item() == pytest.approx(3.0)
    assert torch.stack(alphas).prod().item() == pytest.approx(1 / 3)
    assert all(alpha < 1 for alpha in alphas)
    assert build(HamiltonianVAE, start_temperature=1.0).cold_logit is None
    torch.testing.assert_close(model.encode(torch.zeros(1, 1, 8, 8)).step_size, torch.full((4,), 0.05))


def gaussian(num_leapfrog: int, widen: float = 1.5, **kwargs: Any) -> tuple[Any, Tensor, Tensor]:
    """A linear-Gaussian model whose posterior starts too wide and shifted, examples and their exact evidence."""
    exact, x, evidence = linear()
    line = partial(Dense, hidden=[])
    parts = {"encoder": line, "decoder": line, "likelihood": partial(FixedNormal, scale=0.5)}
    cls = HamiltonianVAE if num_leapfrog else VAE
    given = {"num_leapfrog": num_leapfrog, **kwargs} if num_leapfrog else {}
    model = cls(shape=(5,), latent_dim=2, **parts, **given).double()
    model.decoder.load_state_dict(exact.decoder.state_dict())
    with torch.no_grad():
        one = exact.encode(torch.eye(5).double())
        zero = exact.encode(torch.zeros(1, 5).double())
        out = model.encoder.layers[1]
        out.weight[:2], out.bias[:2] = (one.mean - zero.mean).T, zero.mean[0] + 0.2
        out.weight[2:], out.bias[2:] = 0, torch.log(widen * zero.variance[0].sqrt())
    return model, x, evidence


@pytest.mark.parametrize("num_leapfrog", [1, 3, 5])
@pytest.mark.parametrize("start_temperature", [1.0, 1.5])
def test_bounds_of_a_linear_model(num_leapfrog: int, start_temperature: float) -> None:
    """Below the exact evidence, above the bound of the VAE that it starts from; weights average to the evidence."""
    vae, x, exact = gaussian(0)
    model, *_ = gaussian(num_leapfrog, step_size=0.1, start_temperature=start_temperature)
    with torch.no_grad():
        terms = [m.elbo(x, num_samples=20_000) for m in (vae, model)]
        (plain, _), (bound, error) = [(t.log_w.mean(0), t.log_w.std(0) / 20_000**0.5) for t in terms]
        weights = (terms[1].log_w - exact).exp()
    assert (bound < exact + 4 * error).all()
    torch.testing.assert_close(terms[1].value, bound)
    if start_temperature == 1:
        assert (bound > plain + 0.02).all()
    assert ((weights.mean(0) - 1).abs() < 4 * weights.std(0) / 20_000**0.5 + 1e-3).all()


def test_gradients_against_differences(images: Tensor) -> None:
    """Those of the leapfrog steps too, which are second derivatives of the decoder."""
    model, x = tiny(HamiltonianVAE, decoder=smooth).double(), images[:3].double()

    def loss() -> Tensor:
        torch.manual_seed(1)
        return model.losses(x)["loss"]

    loss().backward()
    for name, index in (("step_logit", 0), ("cold_logit", ()), ("decoder.layers.1.weight", (3, 1))):
        p = dict(model.named_parameters())[name]
        with torch.no_grad():
            old, values = p[index].clone(), []
            for shift in (1e-6, -1e-6):
                p[index] = old + shift
                values.append(loss().item())
            p[index] = old
        assert p.grad[index].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_inference_mode_changes_nothing(images: Tensor) -> None:
    model, found = tiny(HamiltonianVAE).eval(), []
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with mode():
            torch.manual_seed(3)
            found.append(model.losses(images.clone())["elbo"].item())
    assert found[0] == found[1] == found[2]


def test_a_fit_with_validation_and_test(tmp_path: Path) -> None:
    model = tiny(HamiltonianVAE)
    trainer = quiet_trainer(tmp_path, max_epochs=1)
    trainer.fit(model, tiny_data())
    assert math.isfinite(trainer.callback_metrics["val/elbo"])
    (values,) = trainer.test(model, tiny_data(), verbose=False)
    assert math.isfinite(values["test/elbo"])


def vectors(folder: Path, *, missing: bool = False, **kwargs: Any) -> Arrays:
    """Vectors of large numbers, of which a tenth may be missing."""
    x = 1e4 + 1e3 * np.random.default_rng(0).standard_normal((60, 4)).astype("float32")
    x[:, 1] = np.where(np.arange(60) % 10 == 3, np.nan, x[:, 1]) if missing else x[:, 1]
    np.save(folder / "x.npy", x)
    return Arrays(path=str(folder / "x.npy"), missing=missing, scaling="standard", **kwargs)


KINDS: dict[str, Any] = {
    "grey images": lambda _folder, **kwargs: Digits(**kwargs),
    "scaled vectors": vectors,
    "scaled vectors with missing values": partial(vectors, missing=True),
    "counts": lambda _folder, **kwargs: Counts(**kwargs),
    "tables": lambda _folder, **kwargs: BreastCancer(**kwargs),
    "texts": lambda _folder, **kwargs: Tokens(**kwargs),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", [HamiltonianVAE, RHVAE])
def test_a_fit_with_the_default_likelihood_of_each_kind_of_data(cls: type, kind: str, tmp_path: Path) -> None:
    data: DataModule = KINDS[kind](tmp_path, batch_size=10)
    given = {"shape": data.shape, "likelihood": data.likelihood, "missing": data.missing, "scaling": data.scaling}
    few = {"num_leapfrog": 2, **({"num_centroids": 4, "metric": small} if takes(cls, "metric") else {})}
    torch.manual_seed(0)
    model = cls(latent_dim=2, encoder=small, decoder=small, **few, **given)
    trainer = quiet_trainer(tmp_path, limit_train_batches=2, limit_val_batches=1)
    trainer.fit(model, data)
    assert trainer.global_step == 2
    assert all(math.isfinite(trainer.callback_metrics[name]) for name in ("train/loss", "val/elbo"))


class TestLikelihoodsThatChangeInTraining:
    def test_a_step_counts_as_one_batch(self, images: Tensor) -> None:
        """The bound is scored with the batch's σ, which alone is tracked."""
        model = tiny(HamiltonianVAE, likelihood=OptimalNormal)
        torch.manual_seed(1)
        terms = model.elbo(images)
        squares = (images - model.decode(terms.z[0]).mean).square().mean()
        assert model.likelihood.count == 1
        torch.testing.assert_close(model.likelihood.square, squares.detach())

    @pytest.mark.parametrize("inner", [torch.enable_grad, torch.no_grad])
    def test_latents_move_in_training_as_in_evaluation(self, inner: Any, images: Tensor) -> None:
        model, found = tiny(HamiltonianVAE, likelihood=partial(OptimalNormal, scale=0.3)), []
        for training in (True, False):
            model.train(training)
            with inner():
                torch.manual_seed(2)
                found.append(model.encode(images).rsample((3,)))
        torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
        assert model.likelihood.count == 0
        model.train()
        model.log_joint(images, None, found[0])
        assert model.likelihood.training

    def test_no_word_is_dropped_on_the_way(self) -> None:
        likelihood = partial(AutoregressiveTokens, vocabulary=["", "?", "a", "b"], word_dropout=0.5)
        model = HamiltonianVAE(shape=(40,), latent_dim=2, encoder=small, decoder=small, likelihood=likelihood)
        x, z = torch.tensor([[2.0, 3.0] * 20]), torch.randn(1, 2)
        first, second = model.log_joint(x, None, z), model.log_joint(x, None, z)
        assert torch.equal(first, second)
        assert not torch.equal(model.decode(z).log_prob(x), model.decode(z).log_prob(x))


def test_combines(images: Tensor) -> None:
    c = torch.arange(16) % 3
    values = tiny(ConditionalHamiltonian).losses(images, c)
    assert values["elbo"].isfinite()
    values = tiny(HamiltonianIWAE, num_samples=4).losses(images)
    assert values["bound"] > values["elbo"]


@pytest.mark.parametrize("cls", [BetaTCVAE, LadderVAE, VampVAE, IWAEDReG, PIWAE])
def test_does_not_combine(cls: type) -> None:
    with pytest.raises(TypeError, match="do not go together"):
        build(type("Both", (HamiltonianVAE, cls), {}))


def test_needs_latents_of_any_real_value() -> None:
    with pytest.raises(ValueError, match="VonMisesFisher do not go together: leapfrog steps need any real latents"):
        build(HamiltonianVAE, posterior=VonMisesFisher, prior=UniformSphere)


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.parametrize("num_steps", [200, 2000])
def test_no_training_takes_a_bound_above_the_evidence(num_steps: int) -> None:
    torch.manual_seed(0)
    line = partial(Dense, hidden=[])
    parts = {"encoder": line, "decoder": line, "likelihood": Certain}
    model = HamiltonianVAE(shape=(2,), latent_dim=2, num_leapfrog=2, step_size=0.2, start_temperature=3.0, **parts)
    bound, error = play(model, torch.tensor([[1.0, -0.5]]), num_steps=num_steps, num_samples=8)
    assert -0.5 < bound < 4 * error


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"num_leapfrog": -1}, "num_leapfrog must be at least 0, got -1."),
        ({"step_size": 0.0}, "step_size must lie between 0 and max_step_size, got 0.0 and 0.5."),
        ({"step_size": 0.5}, "step_size must lie between 0 and max_step_size, got 0.5 and 0.5."),
        ({"start_temperature": 0.5}, "start_temperature must be at least 1 and finite, got 0.5."),
    ],
)
def test_bad_values(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(HamiltonianVAE, **kwargs)
