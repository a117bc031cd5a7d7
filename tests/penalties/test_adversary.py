"""The adversary on latents: what it learns, and which term trains which network."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import build, losses
from torch import Tensor

from vae_zoo.distributions import StandardNormal
from vae_zoo.models import AAE, VAE, WAEGAN
from vae_zoo.nn import Dense, Discriminator
from vae_zoo.penalties import LatentAdversary


def gradients(loss: Tensor, module: torch.nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True))


def test_the_adversary_learns_the_log_ratio_of_prior_and_posterior() -> None:
    """For q = N(1, 1) and p = N(0, 1) it is 1/2 - z, which a linear adversary can be."""
    torch.manual_seed(0)
    adversary = LatentAdversary((1,), discriminator=partial(Dense, hidden=()))
    p = StandardNormal((1,))()
    optimizer = torch.optim.Adam(adversary.parameters(), lr=0.03)
    for _ in range(400):
        optimizer.zero_grad()
        adversary.own_loss(1 + torch.randn(1000, 1), p).backward()
        optimizer.step()
    z = torch.tensor([[-1.0], [0.0], [1.0], [2.0]])
    torch.testing.assert_close(adversary.discriminator(z), 0.5 - z, rtol=0.15, atol=0.15)


def test_the_encoder_moves_towards_the_prior() -> None:
    torch.manual_seed(0)
    adversary, p = LatentAdversary((1,), discriminator=partial(Dense, hidden=())), StandardNormal((1,))()
    with torch.no_grad():
        adversary.discriminator.layers[1].weight.fill_(-1.0)  # as it is in the test above
    z = (1 + torch.randn(100, 1)).requires_grad_()
    adversary(z, None, p)[0].backward()
    assert (z.grad > 0).all()  # and so a step of descent lowers z


@pytest.mark.parametrize(
    "cls",
    [
        partial(AAE, weight=10.0),
        partial(WAEGAN, weight=10.0),
        partial(VAE, penalties=[partial(LatentAdversary, weight=10.0)]),
    ],
    ids=["AAE", "WAEGAN", "VAE"],
)
def test_each_term_trains_its_own(cls: type, images: Tensor) -> None:
    torch.manual_seed(0)
    model = build(cls) if isinstance(cls, type) else cls(shape=(1, 8, 8), latent_dim=4)
    found = losses(model, images)
    (adversary,) = model.penalties
    own, deceive = found["latent_adversary_loss"], found["latent_adversary"]
    assert all(g is None for g in gradients(own, model.encoder))
    assert all(g is None for g in gradients(deceive, adversary))
    for whole, alone in zip(gradients(found["loss"], adversary), gradients(own, adversary), strict=True):
        assert torch.equal(whole, alone)
    rest = found["loss"] - own
    for whole, alone in zip(gradients(found["loss"], model.encoder), gradients(rest, model.encoder), strict=True):
        torch.testing.assert_close(whole, alone)
    expected = [10 * g for g in gradients(deceive, model.encoder)]
    for got, wanted in zip(gradients(rest - reconstruction(found), model.encoder), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5)


def reconstruction(found: dict[str, Tensor]) -> Tensor:
    return found.get("kl", torch.zeros(())) - found["reconstruction"]


def test_its_parameters_have_their_own_rate() -> None:
    model = build(AAE, discriminator_lr=2e-4)
    *_, group = model.param_groups()
    assert group["lr"] == 2e-4
    assert {id(p) for p in group["params"]} == {id(p) for p in model.penalties.parameters()}
    assert sum(len(g["params"]) for g in model.param_groups()) == len(list(model.parameters()))
    with pytest.raises(ValueError, match="lr must be positive and finite, got 0"):
        build(AAE, discriminator_lr=0)


def test_the_discriminator_is_that_of_the_paper_of_factor_vae_unless_given() -> None:
    assert isinstance(build(AAE).penalties[0].discriminator, Discriminator)
