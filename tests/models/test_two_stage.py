from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Spy, tiny, tiny_data
from torch import Tensor

from vae_zoo.callbacks import FitSecondStage
from vae_zoo.distributions import Normal, StandardNormal, TwoStagePrior, kl
from vae_zoo.evaluation import ais
from vae_zoo.models import VAE, FactorVAE, TwoStageVAE
from vae_zoo.testing.subject import quiet_trainer


@pytest.fixture
def model() -> TwoStageVAE:
    torch.manual_seed(0)
    return tiny(TwoStageVAE)


def mmd(x: Tensor, y: Tensor) -> float:
    """Squared maximum mean discrepancy with an inverse multiquadratic kernel, biased by the same for all."""
    terms = [(1 / (1 + torch.cdist(a, b).square())).mean() for a, b in ((x, x), (y, y), (x, y))]
    return (terms[0] + terms[1] - 2 * terms[2]).item()


def gradients(model: TwoStageVAE, value: Tensor) -> dict[str, Tensor]:
    names, params = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(value, params, retain_graph=True, allow_unused=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None and bool(g.any())}


def test_the_first_stage_is_trained_as_a_vae(model: TwoStageVAE, images: Tensor) -> None:
    """Its gradient is that of a VAE with the same draws, whatever the second stage does."""
    torch.manual_seed(1)
    values = model.losses(images)
    torch.manual_seed(1)
    q = model.encode(images)
    z = q.rsample((1,))
    plain = kl(q, StandardNormal((4,))(), z).mean() - model.decode(z).log_prob(images).mean()
    torch.testing.assert_close(values["first_loss"], plain)
    expected, found = gradients(model, plain), gradients(model, values["loss"])
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient)
    assert {name for name in found if name not in expected} == {n for n in found if n.startswith("latent_prior.")}


def test_the_second_stage_has_its_own_term(model: TwoStageVAE, images: Tensor) -> None:
    values = model.losses(images)
    found = gradients(model, values["second_loss"])
    assert set(found) == {f"latent_prior.{name}" for name, _ in model.latent_prior.named_parameters()}


def test_the_bound_is_that_of_both_stages(model: TwoStageVAE, images: Tensor) -> None:
    with torch.no_grad():
        elbo = model.elbo(images, num_samples=4000)
        z, stage = elbo.z, model.second_stage
        u = stage.encode(z)
        zero = torch.zeros_like(u.loc)
        draw = u.sample()
        log_pz = (stage.decode(draw).log_prob(z) + Normal(zero, zero).log_prob(draw) - u.log_prob(draw)).sum(-1)
        joint = (elbo.log_px + log_pz - elbo.q.log_prob(z)).mean(0)
    torch.testing.assert_close(elbo.value, joint, rtol=0.01, atol=0.3)
    first = elbo.log_px.mean(0) - elbo.curves["first_kl"]
    assert not torch.allclose(first, joint, atol=1), "which is not that of the first"


def test_gamma_is_in_the_likelihood_of_the_second_stage() -> None:
    """d loss / d log γ = D - Σ (z - f(u))² / γ²: without the first term γ would shrink or grow for ever."""
    torch.manual_seed(0)
    stage, z = TwoStagePrior((3,)), torch.randn(50, 3)
    torch.manual_seed(1)
    loss = stage.loss(z).mean()
    (gradient,) = torch.autograd.grad(loss, stage.log_gamma)
    torch.manual_seed(1)
    q = stage.encode(z)
    p = stage.decode(q.loc + q.scale * torch.randn_like(q.loc))
    expected = 3 - ((z - p.loc) / p.scale).square().sum(-1).mean()
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.exhaustive
@pytest.mark.slow  # trains for seconds
def test_samples_of_the_second_stage_come_closer_to_the_latents() -> None:
    torch.manual_seed(0)
    centres = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])
    z = centres[torch.randint(2, (2000,))] + 0.3 * torch.randn(2000, 2)
    stage = TwoStagePrior((2,), hidden=(64, 64))
    before = mmd(stage().sample((500,)), z[:500])
    optimizer = torch.optim.Adam(stage.parameters(), lr=3e-3)
    for _ in range(1500):
        optimizer.zero_grad()
        stage.loss(z[torch.randint(2000, (256,))]).mean().backward()
        optimizer.step()
    after = mmd(stage().sample((500,)), z[:500])
    assert after < 0.2 * before
    assert after < 0.2 * mmd(torch.randn(500, 2), z[:500])


def test_only_the_second_stage_is_fitted_in_the_last_epochs(model: TwoStageVAE, tmp_path: Path) -> None:
    def look(trainer: Any, model: Any) -> tuple[int, Tensor, Tensor]:
        stage = model.second_stage.decoder[0].weight
        return trainer.current_epoch, model.encoder.layers[1].weight.clone(), stage.clone()

    spy = Spy(look)
    callbacks = [FitSecondStage(num_epochs=2), spy]
    quiet_trainer(tmp_path, max_epochs=4, callbacks=callbacks).fit(model, tiny_data())
    first = {epoch: [w for e, w, _ in spy.seen if e == epoch] for epoch in range(4)}
    second = {epoch: [w for e, _, w in spy.seen if e == epoch] for epoch in range(4)}
    assert not torch.equal(first[1][0], first[1][-1])
    assert torch.equal(first[2][0], first[3][-1])
    assert not torch.equal(second[2][0], second[3][-1])


class WithDiscriminator(FactorVAE, TwoStageVAE):
    """A model whose last parameter group is not that of the second stage."""


def test_a_discriminator_rests_while_the_second_stage_is_fitted(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model: Any = tiny(WithDiscriminator)
    spy = Spy(lambda trainer, model: {name: p.detach().clone() for name, p in model.named_parameters()})
    callbacks = [FitSecondStage(num_epochs=1), spy]
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=callbacks)
    trainer.fit(model, tiny_data())
    half = len(spy.seen) // 2
    before, at_last = spy.seen[half], dict(model.named_parameters())
    assert {name.split(".")[0] for name, p in at_last.items() if not torch.equal(p, before[name])} == {"latent_prior"}
    assert not torch.equal(spy.seen[0]["discriminator.layers.1.weight"], before["discriminator.layers.1.weight"])


class OneGroup(TwoStageVAE):
    def param_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.parameters())}]


def test_a_model_of_one_parameter_group_is_refused_instead_of_resting_as_a_whole(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[FitSecondStage(num_epochs=1)])
    with pytest.raises(ValueError, match="FitSecondStage needs an optimizer with a parameter group of what it fits"):
        trainer.fit(tiny(OneGroup), tiny_data())


def test_who_has_a_second_stage(tmp_path: Path) -> None:
    trainer = quiet_trainer(tmp_path, max_epochs=4, callbacks=[FitSecondStage(num_epochs=2)])
    with pytest.raises(ValueError, match="FitSecondStage needs a TwoStageVAE, got a VAE"):
        trainer.fit(tiny(VAE), tiny_data())


def test_bad_arguments(images: Tensor) -> None:
    with pytest.raises(TypeError, match="prior must make a TwoStagePrior, got StandardNormal"):
        tiny(TwoStageVAE, prior=StandardNormal)
    with pytest.raises(TypeError, match="takes no free_bits"):
        tiny(TwoStageVAE, free_bits=0.5)
    with pytest.raises(ValueError, match="hidden must hold widths of at least 1"):
        TwoStagePrior((4,), hidden=())
    with pytest.raises(TypeError, match="gives draws of a bound"):
        ais(tiny(TwoStageVAE), images[:2], num_steps=3)
    assert math.isfinite(tiny(VAE, prior=TwoStagePrior).losses(images)["loss"].item()), "a prior of any VAE"
