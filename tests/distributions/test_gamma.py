"""Gamma, beta and Dirichlet latents, against torch's divergences, known values and moments."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from vae_zoo.distributions import (
    Beta,
    BetaPrior,
    Dirichlet,
    DirichletPrior,
    Family,
    FixedNormal,
    Gamma,
    GammaPrior,
    Prior,
    check_pair,
    kl,
    tempered,
)
from vae_zoo.distributions.latents.gamma import MIN_CONCENTRATION
from vae_zoo.evaluation.ais import ais
from vae_zoo.models import VAE, GammaVAE
from vae_zoo.nn import Dense
from vae_zoo.testing import oracle
from vae_zoo.testing.subject import Subject

PAIRS = [(Gamma, GammaPrior), (Beta, BetaPrior), (Dirichlet, DirichletPrior)]


def outputs(*concentrations: float) -> Tensor:
    """What a network must give for these concentrations, float64."""
    return (torch.tensor(concentrations, dtype=torch.float64) - MIN_CONCENTRATION).log()


def gamma(concentration: float, rate: float) -> Any:
    params = torch.cat([outputs(concentration), torch.tensor([rate]).double().log()])
    return Gamma((1,)).double()(params.view(1, 2, 1))


@pytest.mark.parametrize(
    ("q", "p", "expected"),
    [
        (gamma(3, 2), GammaPrior((1,), concentration=2, rate=1), 0.115931),
        (Beta((1,)).double()(outputs(2, 3).view(1, 2, 1)), BetaPrior((1,)), 0.234907),
        (Dirichlet((3,)).double()(outputs(2, 3, 4).view(1, 3)), DirichletPrior((3,)), 0.619406),
    ],
)
def test_known_divergences(q: Any, p: Prior, expected: float) -> None:
    assert kl(q, p.double()(), q.sample((1,))).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
@pytest.mark.parametrize(("family", "prior"), PAIRS)
def test_divergence_against_torch(family: type[Family], prior: type[Prior], shape: tuple[int, ...]) -> None:
    made = family(shape).double()
    q, p = made(torch.randn(5, *made.param_shape).double()), prior(shape, **priors(prior)).double()()
    bare = [getattr(d, "base_dist", d) for d in (q, p)]
    plain = type(bare[0]).__bases__[0]
    expected = kl_divergence(*(plain(*parameters(d)) for d in bare))
    torch.testing.assert_close(kl(q, p, q.sample((1,))), expected.flatten(1).sum(1) if expected.ndim > 1 else expected)
    torch.testing.assert_close(kl(q, q, q.sample((1,))), torch.zeros(5).double(), rtol=0, atol=1e-9)


def priors(cls: type[Prior]) -> dict[str, float]:
    return {"alpha": 0.7, "beta": 2.5} if cls is BetaPrior else {"concentration": 1.6}


def parameters(d: Any) -> list[Tensor]:
    """Those of torch's class."""
    return [
        getattr(d, name) for name in ("concentration1", "concentration0", "concentration", "rate") if hasattr(d, name)
    ]


def test_moments_of_gamma_draws() -> None:
    """Not those of another concentration: a sampler for α + 8 needs a correction that is easily forgotten."""
    torch.manual_seed(0)
    z = gamma(3, 2).sample((200_000,))
    assert z.mean().item() == pytest.approx(1.5, abs=0.01)
    assert z.var().item() == pytest.approx(0.75, rel=0.02)


def test_gradient_of_the_mean() -> None:
    """E[z] = α / β: its derivatives are 1 / β and -α / β², also where proposals are rejected often."""
    torch.manual_seed(1)
    for alpha, beta in ((3.0, 2.0), (0.4, 0.5)):
        log = torch.tensor([[math.log(alpha - MIN_CONCENTRATION)], [math.log(beta)]]).double().requires_grad_()
        Gamma((1,)).double()(log).rsample((100_000,)).mean().backward()
        expected = [(alpha - MIN_CONCENTRATION) / beta, -alpha / beta]  # of the logarithms
        assert log.grad.flatten().tolist() == pytest.approx(expected, rel=0.02)


def test_gradient_of_the_mean_of_a_proportion() -> None:
    torch.manual_seed(2)
    log = outputs(2, 3).view(1, 2, 1).requires_grad_()
    Beta((1,)).double()(log).rsample((100_000,)).mean().backward()
    expected = [1.8 * 3 / 25, -2.8 * 2 / 25]  # of α / (α + β)
    assert log.grad.flatten().tolist() == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("family", "top"), [(Gamma, 80.0), (Beta, 1.0)])
def test_density_integrates_to_one(family: type[Family], top: float) -> None:
    d = family((1,)).double()(torch.rand(5, 2, 1).double() + 0.5)  # concentrations above 1: no singular ends
    grid = torch.linspace(0, top, 200_001, dtype=torch.float64)[1:-1]
    density = d.log_prob(grid[:, None, None].expand(-1, 5, 1)).exp()
    torch.testing.assert_close(torch.trapezoid(density, grid, dim=0), torch.ones(5).double(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("concentration", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["gamma", "beta", "Dirichlet"])
def test_no_density_outside_the_support(kind: str, concentration: float) -> None:
    """Nor a gradient, which would carry a chain on; and NaN, which is a missing value, stays NaN."""
    p, inside, outside = {
        "gamma": (GammaPrior((2,), concentration=concentration), [0.3, 30.0], [2.0, -30.0]),
        "beta": (BetaPrior((2,), alpha=concentration, beta=concentration), [0.3, 0.9], [0.3, 2.0]),
        "Dirichlet": (DirichletPrior((2,), concentration=concentration), [0.1, 0.9], [1.2, -0.2]),
    }[kind]
    z = torch.tensor([inside, outside, [0.5, math.nan]], requires_grad=True)
    found = p().log_prob(z)
    assert found[0].isfinite()
    assert found[1] == -math.inf
    assert found[2].isnan()
    (grad,) = torch.autograd.grad(found[:2].sum(), z)
    assert grad[:2].isfinite().all()
    assert grad[1][0 if kind == "Dirichlet" else 1] == 0


@pytest.mark.parametrize("output", [-1000.0, 0.0, 1000.0])
@pytest.mark.parametrize(("family", "prior"), PAIRS)
def test_extreme_outputs(family: type[Family], prior: type[Prior], output: float) -> None:
    """Draws stay inside the support in float32, and densities finite, at the ends of what a network may give."""
    made, p = family((4,)), prior((4,))()
    params = torch.full((1000, *made.param_shape), output).requires_grad_()
    q = made(params)
    z = q.rsample((50,))
    assert z.dtype == torch.float32
    assert (z > 0).all()
    assert family is Gamma or (z < 1).all()
    value = q.log_prob(z).mean() + p.log_prob(z).mean() + kl(q, p, z).mean()
    (grad,) = torch.autograd.grad(value, params)
    assert value.isfinite()
    assert grad.isfinite().all()


def test_no_draw_underflows_at_the_lower_bound() -> None:
    torch.manual_seed(3)
    z = Gamma((1000,))(torch.full((1, 2, 1000), -1000.0)).sample((1000,))
    tiny = torch.finfo(torch.float32).tiny * math.exp(7)  # the rate is at its own bound
    assert (z < tiny).float().mean() < 1e-5


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Gamma((2,), min_concentration=0), r"min_concentration must be above 0 and below 1000, got 0"),
        (lambda: Beta((2,), min_concentration=-1), r"min_concentration must be above 0 and below 1000, got -1"),
        (lambda: GammaPrior((2,), rate=0), "rate must be positive and finite, got 0"),
        (lambda: BetaPrior((2,), alpha=math.inf), "alpha must be positive and finite, got inf"),
        (lambda: DirichletPrior((2,), concentration=-1.0), "concentration must be positive and finite, got -1"),
        (lambda: Dirichlet((3, 1)), r"Dirichlet needs a last side of at least 2, got events of shape \(3, 1\)"),
        (lambda: check_pair(Gamma((3,)), BetaPrior((3,))), "Gamma and BetaPrior do not go together: the prior lies on"),
        (lambda: check_pair(Beta((3,)), DirichletPrior((3,))), "Beta and DirichletPrior do not go together"),
        (lambda: tempered(GammaPrior((3,))(), 0.5), "a temperature means nothing here: WideGamma has no scale"),
    ],
)
def test_bad_values(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_latents_of_a_model_are_positive() -> None:
    model = GammaVAE(shape=(5,), latent_dim=3)
    z = model.embed(torch.rand(7, 5))
    assert (z > 0).all()
    torch.testing.assert_close(model.prior().mean, torch.full((3,), 2.0))


@pytest.mark.parametrize(
    ("posterior", "prior", "top"),
    [(Beta, BetaPrior, 1.0), (Gamma, partial(GammaPrior, concentration=1.0), 20.0)],
)
@pytest.mark.parametrize("from_posterior", [False, True])
def test_chains_stay_inside_the_support_at_a_concentration_of_one(
    posterior: type[Family], prior: Any, top: float, from_posterior: bool
) -> None:
    """AIS against quadrature, at examples that latents outside the support would explain best."""
    model = VAE(
        shape=(2,),
        latent_dim=1,
        posterior=posterior,
        prior=prior,
        likelihood=partial(FixedNormal, scale=0.5),
        encoder=partial(Dense, hidden=[]),
        decoder=partial(Dense, hidden=[]),
    ).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
        next(model.decoder.parameters()).fill_(1.0)
    x = torch.tensor([[1.4, 1.6], [-0.3, -0.2], [0.5, 0.4]])
    z = torch.linspace(0, top, 4001)[1:-1, None]
    with torch.no_grad():
        log_joint = model.prior().log_prob(z)[:, None] + model.decode(z[:, None].expand(-1, 3, -1)).log_prob(x)
    exact = torch.logsumexp(log_joint.double(), 0) + math.log(top / 4000)
    found = ais(model, x, num_steps=40, num_chains=32, num_leapfrog=4, from_posterior=from_posterior)
    assert ((found.value - exact).abs() < 4 * found.error + 0.01).all()


def test_chains() -> None:
    """They stay among positive numbers, and are refused on a simplex."""
    model = Subject(GammaVAE).linear_gaussian()
    torch.manual_seed(4)
    x = model.sample(3, mean=False)
    exact, error = oracle.evidence(model, x, None)
    found = ais(model, x, num_steps=20, num_chains=32, num_leapfrog=4)
    assert ((found.value - exact).abs() < 4 * (found.error.square() + error.square()).sqrt()).all()
    simplex = VAE(shape=(5,), latent_dim=3, posterior=Dirichlet, prior=DirichletPrior, likelihood=FixedNormal)
    with pytest.raises(
        TypeError, match=r"chains move through intervals of real numbers, and VAE has latents on Simplex"
    ):
        ais(simplex, x.float())
