from __future__ import annotations

import pytest
import torch
from helpers import tiny
from torch import Tensor

from vae_zoo.elbo import ELBO
from vae_zoo.functional import log_mean_exp
from vae_zoo.models import IWAE, MIWAE


@pytest.fixture
def model() -> MIWAE:
    torch.manual_seed(0)
    return tiny(MIWAE, num_groups=3, num_samples=4)


@pytest.fixture
def elbo(model: MIWAE) -> ELBO:
    return model.elbo(torch.rand(5, 1, 8, 8).round(), num_samples=model.num_draws)


def loss(model: MIWAE, elbo: ELBO, num_groups: int) -> Tensor:
    model.num_groups = num_groups
    return model.objective(elbo)["loss"]


def test_the_mean_of_bounds_of_each_group(model: MIWAE, elbo: ELBO) -> None:
    """The K samples of a group stand in one bound, and the M bounds are averaged: not the other way round."""
    bounds = [torch.log(torch.exp(group.double()).mean(0)) for group in elbo.log_w.chunk(3)]
    assert bounds[0].shape == (5,)
    torch.testing.assert_close(loss(model, elbo, 3).double(), -torch.stack(bounds).mean(), rtol=1e-5, atol=1e-5)


def test_one_group_is_iwae_and_groups_of_one_the_elbo(model: MIWAE, elbo: ELBO) -> None:
    assert torch.equal(loss(model, elbo, 1), IWAE.objective(model, elbo)["loss"])
    torch.testing.assert_close(loss(model, elbo, 12), -elbo.log_w.mean())


def test_the_bounds_are_in_order(model: MIWAE, elbo: ELBO) -> None:
    losses = [loss(model, elbo, num_groups) for num_groups in (12, 6, 3, 1)]
    assert sorted(losses, reverse=True) == losses
    bound = model.objective(elbo)["bound"]
    torch.testing.assert_close(bound, log_mean_exp(elbo.log_w).mean())


def test_the_order_within_a_group_does_not_matter(model: MIWAE, elbo: ELBO) -> None:
    within = elbo.log_w.unflatten(0, (3, 4)).flip(1).flatten(0, 1)
    across = elbo.log_w.unflatten(0, (3, 4)).transpose(0, 1).flatten(0, 1)
    zero = torch.zeros(())
    for log_w, same in ((within, True), (across, False)):
        again = elbo._replace(log_px=log_w, weight=zero)  # whose weights are these
        assert torch.allclose(loss(model, again, 3), loss(model, elbo, 3)) == same


def test_what_is_drawn(model: MIWAE, images: Tensor) -> None:
    assert model.num_draws == 12
    torch.manual_seed(0)
    found = model.losses(images)
    torch.manual_seed(0)
    assert found["loss"] == loss(model, model.elbo(images, num_samples=12), 3)


@pytest.mark.parametrize("num_groups", [0, -1])
def test_bad_values(num_groups: int) -> None:
    with pytest.raises(ValueError, match=f"num_groups must be at least 1, got {num_groups}"):
        tiny(MIWAE, num_groups=num_groups)
