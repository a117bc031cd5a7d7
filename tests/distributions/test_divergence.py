from __future__ import annotations

import inspect
from functools import cached_property

import pytest
import torch
from helpers import FAMILIES, PRIORS
from torch import Tensor
from torch.distributions import Gamma, Independent, MultivariateNormal, kl_divergence

from vae_zoo.distributions import (
    AutoregressiveFlow,
    DiagonalLaplace,
    DiagonalNormal,
    Family,
    FlowPrior,
    Normal,
    OptimalNormal,
    Prior,
    SplineFlow,
    SplinePrior,
    StandardNormal,
    combine,
    divergence,
    has_closed_form,
    kl,
    kl_per_dim,
    log_prob_per_dim,
    register_kl,
    tempered,
)
from vae_zoo.distributions.normal import independent, is_normal
from vae_zoo.distributions.supports import contains

POSTERIORS = [f for f in FAMILIES if f.is_density and isinstance(f.support, cached_property)]


def test_there_are_pairs() -> None:
    assert POSTERIORS
    assert PRIORS
    assert all(inspect.isclass(c) for c in POSTERIORS + PRIORS)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("posterior", POSTERIORS)
def test_closed_form_agrees_with_monte_carlo(posterior: type[Family], prior: type[Prior]) -> None:
    family = posterior((3,)).double().eval()
    q, p = family(torch.randn(4, *family.param_shape).double()), prior((3,)).double()()
    if not contains(p.support, q.support) or not has_closed_form(q, p):
        pytest.skip("by Monte Carlo: see test_pairs.py")
    z = q.rsample((50_000,))
    log_ratio = q.log_prob(z) - p.log_prob(z)
    error = log_ratio.std(0) / len(z) ** 0.5
    found = kl(q, p, z[:1] if is_normal(q) else z)
    assert found.shape == (4,)
    assert ((found - log_ratio.mean(0)).abs() < 4 * error + 1e-9).all()
    assert (found >= 0).all()


def test_normal_prior_of_any_place_and_scale() -> None:
    q = DiagonalNormal((3,))(torch.randn(4, 2, 3))
    loc, log_scale = torch.randn(2, 3)
    expected = torch.distributions.kl_divergence(q.base_dist, torch.distributions.Normal(loc, log_scale.exp()))
    torch.testing.assert_close(kl(q, independent(Normal(loc, log_scale), 1), q.rsample((1,))), expected.sum(-1))


def test_latents_with_more_than_one_dimension() -> None:
    q = DiagonalNormal((2, 3))(torch.randn(4, 2, 2, 3))
    divergence = kl(q, StandardNormal((2, 3))(), q.rsample((1,)))
    expected = torch.distributions.kl_divergence(q.base_dist, torch.distributions.Normal(0, 1))
    torch.testing.assert_close(divergence, expected.sum((1, 2)))


def test_monte_carlo_where_no_closed_form_is_known() -> None:
    q = MultivariateNormal(torch.randn(4, 3), torch.eye(3) * 0.5)
    z = q.rsample((9,))
    p = StandardNormal((3,))()
    torch.testing.assert_close(kl(q, p, z), (q.log_prob(z) - p.log_prob(z)).mean(0))


def test_float32_near_the_prior() -> None:
    """In bfloat16 the divergence of a nearly collapsed posterior comes out negative."""
    params = (torch.randn(64, 2, 8) * 1e-3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        q = DiagonalNormal((8,))(params)
        divergence = kl(q, StandardNormal((8,))(), q.rsample((1,)))
    exact = DiagonalNormal((8,))(params.double())
    exact_kl = kl(exact, StandardNormal((8,)).double()(), exact.rsample((1,)))
    assert (divergence > 0).all()
    torch.testing.assert_close(divergence.double(), exact_kl, rtol=1e-4, atol=0)


class TestInheritedCode:
    """A class that inherits another's code need not have its density: formulas go by the very class."""

    def folded(self) -> Independent:
        class Shifted(Normal):
            def log_prob(self, value: Tensor) -> Tensor:
                return super().log_prob(value - 1)

        return independent(Shifted(torch.zeros(3, 2), torch.zeros(3, 2)), 1)

    def test_no_closed_form(self) -> None:
        q, p = self.folded(), StandardNormal((2,))()
        assert not has_closed_form(q, p)
        assert not is_normal(q)
        z = torch.ones(2, 3, 2)
        torch.testing.assert_close(kl(q, p, z), (q.log_prob(z) - p.log_prob(z)).mean(0))

    def test_no_temperature(self) -> None:
        with pytest.raises(ValueError, match="a temperature means nothing here: Shifted"):
            tempered(self.folded(), 0.5)

    def test_no_combination(self) -> None:
        normal = DiagonalNormal((2,)).at_zeros()
        for other in (self.folded(), DiagonalLaplace((2,)).at_zeros()):
            with pytest.raises(ValueError, match="combine needs two normal distributions"):
                combine(normal, other)

    def test_whole_events(self) -> None:
        """OptimalNormal is Independent with a density of its own."""
        q = OptimalNormal((2,))(torch.zeros(1, 2))
        assert type(q).__name__ == "_OptimalNormal"
        assert not is_normal(q)
        assert not has_closed_form(q, StandardNormal((2,))())
        with pytest.raises(ValueError, match="the dimensions must be independent"):
            log_prob_per_dim(q, q.mean)

    def test_siblings_are_not_of_a_kind(self) -> None:
        assert not issubclass(DiagonalLaplace, DiagonalNormal)
        assert not issubclass(SplineFlow, AutoregressiveFlow)
        assert not issubclass(SplinePrior, FlowPrior)


def test_a_pair_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The registered form is taken, with the distributions themselves, and agrees with torch's."""
    monkeypatch.setattr(divergence, "_FORMS", {**divergence._FORMS})
    q = Independent(Gamma(torch.tensor([[2.0, 3.0]]), torch.tensor([[1.0, 0.5]])), 1)
    p = Independent(Gamma(torch.ones(2), torch.ones(2)), 1)
    z = q.sample((1000,))
    assert not has_closed_form(q, p)

    @register_kl(Gamma, Gamma)
    def gamma_gamma(q: Gamma, p: Gamma, event_dims: int) -> torch.Tensor:
        assert event_dims == 1
        return kl_divergence(q, p)

    assert has_closed_form(q, p)
    assert kl_per_dim(q, p, z).shape == (1, 2)
    torch.testing.assert_close(kl(q, p, z), kl_divergence(q, p))
