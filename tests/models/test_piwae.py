from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from helpers import losses, tiny
from torch import Tensor

from vae_zoo.distributions import DiagonalNormal, MixtureNormal, PlanarFlow
from vae_zoo.elbo import ELBO
from vae_zoo.models import IWAE, MIWAE, PIWAE


@pytest.fixture(params=[DiagonalNormal, PlanarFlow])  # the gradient of log q along a draw of the latter varies
def model(request: pytest.FixtureRequest) -> PIWAE:
    torch.manual_seed(0)
    return tiny(PIWAE, num_groups=3, num_samples=4, prior=MixtureNormal, posterior=request.param).double()


def gradients(model: MIWAE, x: Tensor, loss: Callable[[ELBO], Tensor]) -> dict[str, Tensor]:
    """Gradients of a loss at the same noise."""
    torch.manual_seed(1)
    model.zero_grad()
    loss(model.elbo(x, num_samples=model.num_draws)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_each_part_gets_the_gradient_of_its_own_bound(model: PIWAE, images: Tensor) -> None:
    x = images.double()
    found = gradients(model, x, lambda elbo: model.objective(elbo)["loss"])
    encoder = gradients(model, x, lambda elbo: MIWAE.objective(model, elbo)["loss"])
    decoder = gradients(model, x, lambda elbo: IWAE.objective(model, elbo)["loss"])
    assert found.keys() == encoder.keys() == decoder.keys()
    for name, gradient in found.items():
        expected, other = (encoder, decoder) if name.startswith("encoder") else (decoder, encoder)
        torch.testing.assert_close(gradient, expected[name], rtol=1e-9, atol=1e-12)
        assert not torch.allclose(gradient, other[name], rtol=1e-3), name


def test_its_value_is_that_of_iwae(model: PIWAE, images: Tensor) -> None:
    elbo = model.elbo(images.double(), num_samples=model.num_draws)
    values, iwae = model.objective(elbo), IWAE.objective(model, elbo)
    torch.testing.assert_close(values["loss"], iwae["loss"])
    torch.testing.assert_close(values["bound"], iwae["bound"])


def test_one_group_is_iwae_and_annealed_it_is_the_weighted_bound(model: PIWAE, images: Tensor) -> None:
    model.num_groups, x = 1, images.double()
    for weight in (1.0, 0.3):
        found = gradients(model, x, lambda elbo, w=weight: model.objective(elbo.annealed(torch.tensor(w)))["loss"])
        same = gradients(model, x, lambda elbo, w=weight: IWAE.objective(model, elbo.annealed(torch.tensor(w)))["loss"])
        for name, gradient in found.items():
            torch.testing.assert_close(gradient, same[name], rtol=1e-9, atol=1e-12)


def test_free_bits(images: Tensor) -> None:
    assert losses(tiny(PIWAE, free_bits=0.5), images)["loss"].isfinite()


def test_needs_the_examples(model: PIWAE, images: Tensor) -> None:
    elbo = model.elbo(images.double(), num_samples=2)._replace(x=None)
    with pytest.raises(ValueError, match=r"^PIWAE needs the examples in the ELBO"):
        model.objective(elbo)
