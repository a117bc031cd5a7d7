from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import fit, losses, small, tiny
from torch import Tensor, nn

from vae_zoo.models import VAE, BetaVAE, FactorVAE
from vae_zoo.nn import Dense, Discriminator


def split(model: FactorVAE) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Parameters of the VAE and of the discriminator."""
    named = list(model.named_parameters())
    return [p for n, p in named if "discriminator" not in n], [p for n, p in named if "discriminator" in n]


def test_each_loss_reaches_its_own_parameters_only(images: Tensor) -> None:
    model = tiny(FactorVAE, discriminator=small)
    vae, discriminator = split(model)
    values = losses(model, images)
    own = torch.autograd.grad(values["discriminator_loss"], [*vae, *discriminator], allow_unused=True)
    assert all(g is None for g in own[: len(vae)])
    assert all((g != 0).any() for g in own[len(vae) :])
    values = losses(model, images)
    tc = torch.autograd.grad(values["tc"], [*vae, *discriminator], allow_unused=True)
    assert all(g is None for g in tc[len(vae) :])
    assert any((g != 0).any() for g in tc[: len(vae)] if g is not None)


def test_one_backward_pass_gives_both_gradients(images: Tensor) -> None:
    """What two optimizers would get in two passes."""
    model = tiny(FactorVAE, discriminator=small, gamma=7.0)
    vae, discriminator = split(model)
    losses(model, images)["loss"].backward()
    v = losses(model, images)
    bound = v["kl"] - v["reconstruction"] + 7 * v["tc"]
    for p, g in zip(vae, torch.autograd.grad(bound, vae), strict=True):
        torch.testing.assert_close(p.grad, g)
    own = losses(model, images)["discriminator_loss"]
    for p, g in zip(discriminator, torch.autograd.grad(own, discriminator), strict=True):
        torch.testing.assert_close(p.grad, g)


@pytest.mark.parametrize("annealed", [None, 0.5])
def test_loss_is_the_sum_of_its_curves(images: Tensor, annealed: float | None) -> None:
    model = tiny(FactorVAE, discriminator=small, gamma=3.0, num_samples=2)
    model.kl_weight = None if annealed is None else torch.tensor(annealed)
    v = losses(model, images)
    expected = (annealed or 1.0) * (v["kl"] + 3 * v["tc"]) - v["reconstruction"] + v["discriminator_loss"]
    torch.testing.assert_close(v["loss"], expected)


def test_finds_the_total_correlation_of_a_normal() -> None:
    """Of two dimensions with correlation ρ it is −½ log(1 − ρ²)."""
    torch.manual_seed(0)
    model = tiny(FactorVAE, latent_dim=2, discriminator=partial(Dense, hidden=[32, 32]), discriminator_lr=1e-2)
    optimizer = torch.optim.Adam(model.discriminator.parameters(), lr=5e-3)
    rho, terms = 0.8, model.elbo(torch.rand(1, 1, 8, 8))
    for _ in range(250):
        first, noise = torch.randn(2, 1, 500, 1)
        z = torch.cat([first, rho * first + math.sqrt(1 - rho**2) * noise], -1)
        values = model.objective(terms._replace(z=z))
        optimizer.zero_grad()
        values["discriminator_loss"].backward()
        optimizer.step()
    assert values["tc"].item() == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.12)


class TestOptimizer:
    def test_own_settings(self) -> None:
        model = tiny(FactorVAE, discriminator=small)
        optimizer = model.configure_optimizers()
        assert isinstance(optimizer, torch.optim.Adam)
        vae, discriminator = split(model)
        first, second = optimizer.param_groups
        assert {id(p) for p in first["params"]} == {id(p) for p in vae}
        assert {id(p) for p in second["params"]} == {id(p) for p in discriminator}
        assert (first["lr"], first["betas"]) == (1e-3, (0.9, 0.999))
        assert (second["lr"], second["betas"]) == (1e-4, (0.5, 0.9))
        assert optimizer.defaults["fused"]

    def test_given_optimizer_keeps_the_settings_of_the_discriminator(self) -> None:
        model = tiny(FactorVAE, optimizer=partial(torch.optim.AdamW, lr=0.1), discriminator_lr=0.02)
        assert [g["lr"] for g in model.configure_optimizers().param_groups] == [0.1, 0.02]

    def test_steps_are_those_of_two_optimizers(self, images: Tensor) -> None:
        torch.manual_seed(0)
        one = tiny(FactorVAE, discriminator=small, gamma=5.0)
        two = tiny(FactorVAE, discriminator=small, gamma=5.0)
        two.load_state_dict(one.state_dict())
        whole = one.configure_optimizers()
        vae, discriminator = split(two)
        parts = torch.optim.Adam(vae, lr=1e-3), torch.optim.Adam(discriminator, lr=1e-4, betas=(0.5, 0.9))
        for step in range(3):
            whole.zero_grad()
            losses(one, images, step)["loss"].backward()
            whole.step()
            v = losses(two, images, step)
            for p, g in zip(vae, torch.autograd.grad(v["kl"] - v["reconstruction"] + 5 * v["tc"], vae), strict=True):
                p.grad = g
            own = losses(two, images, step)["discriminator_loss"]
            for p, g in zip(discriminator, torch.autograd.grad(own, discriminator), strict=True):
                p.grad = g
            for part in parts:
                part.step()
        for p, q in zip(one.parameters(), two.parameters(), strict=True):
            torch.testing.assert_close(p, q)

    def test_clips_and_accumulates(self, tmp_path: Path) -> None:
        kwargs = {"encoder": small, "decoder": small}
        options = {"gradient_clip_val": 1.0, "accumulate_grad_batches": 2, "max_epochs": 1}
        before = tiny(FactorVAE, discriminator=small)
        model, trainer = fit(tmp_path, FactorVAE, kwargs=kwargs, **options)
        assert trainer.global_step == 3
        assert len(trainer.optimizers) == 1
        assert not torch.equal(model.discriminator.layers[1].weight, before.discriminator.layers[1].weight)


def test_discriminator_of_the_paper() -> None:
    network = Discriminator((10,), (1,))
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [1000] * 6 + [1]
    assert sum(isinstance(m, nn.LeakyReLU) for m in network.modules()) == 6
    default = FactorVAE(shape=(1, 4, 4), latent_dim=3)
    assert isinstance(default.discriminator, Discriminator)


def test_combines_with_other_weights(images: Tensor) -> None:
    class BetaFactor(FactorVAE, BetaVAE): ...

    v = losses(tiny(BetaFactor, beta=2.0, gamma=3.0), images)
    expected = 2 * v["kl"] + 3 * v["tc"] - v["reconstruction"] + v["discriminator_loss"]
    torch.testing.assert_close(v["loss"], expected)


def test_gamma_of_zero_is_the_vae(images: Tensor) -> None:
    torch.manual_seed(0)
    model, vae = tiny(FactorVAE, discriminator=small, gamma=0.0), tiny(VAE)
    vae.load_state_dict({k: v for k, v in model.state_dict().items() if "discriminator" not in k})
    v = losses(model, images)
    torch.testing.assert_close(v["loss"] - v["discriminator_loss"], losses(vae, images)["loss"])


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_values(value: float) -> None:
    with pytest.raises(ValueError, match=rf"^gamma must be at least 0 and finite, got {value}\.$"):
        tiny(FactorVAE, discriminator=small, gamma=value)
    with pytest.raises(ValueError, match=rf"^discriminator_lr must be positive and finite, got {value}\.$"):
        tiny(FactorVAE, discriminator_lr=value)
