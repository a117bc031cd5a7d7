from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import losses, tiny
from torch import Tensor

from vae_zoo.distributions import RiemannianNormal, RiemannianNormalPrior, WrappedNormal, WrappedNormalPrior
from vae_zoo.distributions.supports import Ball
from vae_zoo.models import PoincareVAE
from vae_zoo.nn import GyroplaneDense

KINDS = {
    "wrapped": (WrappedNormal, WrappedNormalPrior),
    "riemannian": (RiemannianNormal, RiemannianNormalPrior),
    "mixed": (WrappedNormal, RiemannianNormalPrior),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_of_evidence_is_that_of_training(kind: str, images: Tensor) -> None:
    """log p(x) of a decoder that ignores z is its log p(x|z): the volumes of q and p cancel."""
    torch.manual_seed(0)
    posterior, prior = KINDS[kind]
    model = tiny(PoincareVAE, latent_dim=2, posterior=posterior, prior=prior)
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.zero_()
        log_p = model.log_evidence(images, num_samples=4000)
        exact = model.decode(torch.zeros(len(images), 2)).log_prob(images)
        z = model.elbo(images, num_samples=3).z
    torch.testing.assert_close(log_p, exact, rtol=0, atol=0.1)
    assert Ball(2).check(z).all()
    assert Ball(2).check(model.embed(images)).all()


@pytest.mark.parametrize(("latent_dim", "scale"), [(2, 1.0), (10, 1.0), (32, 0.5)])
@pytest.mark.parametrize("kind", ["wrapped", "riemannian"])
def test_a_bound_on_nothing_stays_below_nothing(kind: str, latent_dim: int, scale: float, images: Tensor) -> None:
    """With p(x|z) = 1 the bound is at most log p(x) = 0, and reached by the prior itself."""
    torch.manual_seed(0)
    posterior, prior = KINDS[kind]
    model = tiny(PoincareVAE, latent_dim=latent_dim, posterior=posterior, prior=partial(prior, scale=scale))
    optimizer = torch.optim.Adam(model.encoder.parameters(), lr=0.1 / latent_dim**0.5)
    for _ in range(25):
        q, p = model.encode(images), model.prior()
        z = q.rsample((20,))
        optimizer.zero_grad()
        (q.log_prob(z) - p.log_prob(z)).mean().backward()
        optimizer.step()
    with torch.no_grad():
        q = model.encode(images)
        z = q.sample((2000,))
        gaps = (model.prior().log_prob(z) - q.log_prob(z)).mean(0)
    assert (gaps < 0.02).all()
    assert (gaps > -0.25 * latent_dim).all()


def test_with_planes_in_the_decoder(images: Tensor) -> None:
    torch.manual_seed(0)
    model = tiny(PoincareVAE, latent_dim=2, decoder=partial(GyroplaneDense, hidden=[8]))
    losses(model, images)["loss"].backward()
    assert all(bool(p.grad.any()) for p in model.decoder.parameters())


def test_spaces_must_agree() -> None:
    with pytest.raises(ValueError, match=r"WrappedNormal and WrappedNormalPrior do not go together: the prior lies on"):
        tiny(PoincareVAE, prior=partial(WrappedNormalPrior, curvature=0.5))
