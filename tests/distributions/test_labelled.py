from __future__ import annotations

import pytest
import torch
from torch.distributions import Distribution, kl_divergence

from vae_zoo.distributions import Labelled, Normal, tempered
from vae_zoo.distributions.normal import independent

PROBS = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.1, 0.8]], dtype=torch.float64)


def of_batch() -> Labelled:
    torch.manual_seed(0)
    loc, log_scale = torch.randn(3, 2, 4, dtype=torch.float64), 0.3 * torch.randn(3, 2, 4, dtype=torch.float64)
    return Labelled(PROBS.log(), independent(Normal(loc, log_scale), 1))


def of_classes() -> Labelled:
    torch.manual_seed(0)
    return Labelled(PROBS[0].log(), independent(Normal(torch.randn(3, 4).double(), torch.zeros(3, 4).double()), 1))


def alike() -> Labelled:
    zero = torch.zeros(4, dtype=torch.float64)
    return Labelled(PROBS[0].log(), independent(Normal(zero, zero), 1))


@pytest.mark.parametrize("d", [of_batch(), of_classes(), alike()], ids=["batch", "classes", "alike"])
class TestAll:
    def test_shapes(self, d: Labelled) -> None:
        z = d.rsample((5, 6))
        assert z.shape == (5, 6, *d.batch_shape, 7)
        assert d.log_prob(z).shape == (5, 6, *d.batch_shape)
        assert d.mean.shape == d.variance.shape == (*d.batch_shape, 7)

    def test_samples_are_of_the_density(self, d: Distribution) -> None:
        """log p of its own draws is minus the entropy: of the class, and of normal values given the class."""
        assert isinstance(d, Labelled)
        torch.manual_seed(1)
        z = d.sample((40_000,))
        probs = d.log_probs.exp()
        torch.testing.assert_close(z[..., 4:].mean(0), probs, rtol=0, atol=0.01)
        inner = d.latents.entropy().movedim(0, -1) if d.latents.batch_shape else d.latents.entropy()
        entropy = (probs * (inner - d.log_probs)).sum(-1)
        torch.testing.assert_close(-d.log_prob(z).mean(0), entropy, rtol=0, atol=0.05)

    def test_a_class_has_its_own_latents(self, d: Labelled) -> None:
        z = d.sample((20_000,))
        chosen = z[..., 4:] == 1
        if not d.latents.batch_shape:
            return
        for y in range(3):
            rows = chosen[..., y].double()
            found = (rows[..., None] * z[..., :4]).sum(0) / rows.sum(0)[..., None]
            torch.testing.assert_close(found, d.latents.mean[y], rtol=0, atol=0.15)

    def test_the_mean_is_that_of_the_most_probable_class(self, d: Labelled) -> None:
        best = d.log_probs.argmax(-1)
        assert torch.equal(d.mean[..., 4:].argmax(-1), best)
        if d.batch_shape:
            for n, y in enumerate(best):
                assert torch.equal(d.mean[n, :4], d.latents.mean[y, n])
                assert torch.equal(d.variance[n, :4], d.latents.variance[y, n])


def test_gradients_reach_the_latents() -> None:
    d = of_batch()
    d.latents.base_dist.loc.requires_grad_()  # type: ignore[attr-defined]
    assert d.rsample().requires_grad
    d.rsample()[..., :4].sum().backward()
    assert d.latents.base_dist.loc.grad.sum() == 8  # type: ignore[attr-defined]


def test_a_temperature_is_that_of_the_latents() -> None:
    d, colder = of_batch(), tempered(of_batch(), 0.5)
    assert isinstance(colder, Labelled)
    assert torch.equal(colder.log_probs, d.log_probs)
    torch.testing.assert_close(colder.latents.variance, d.latents.variance / 4)
    assert kl_divergence(colder.latents.base_dist, d.latents.base_dist).min() > 0  # type: ignore[attr-defined]
