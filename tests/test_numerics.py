"""Numerical precision: divergences and densities in float32 and below, gradients in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import pytest
import torch
from helpers import FAMILIES, MODELS, labels, losses, tiny
from torch import Tensor

from vae_zoo.distributions import Family
from vae_zoo.distributions.bernoulli import IndependentBernoulli
from vae_zoo.distributions.divergence import kl_laplace, kl_laplace_normal, kl_normal_laplace
from vae_zoo.functional import kl_normal
from vae_zoo.models import VAE, IWAEDReG
from vae_zoo.testing.terms import held_weights

mpmath.mp.dps = 60
ONE, HALF, PI = mpmath.mpf(1), mpmath.mpf("0.5"), mpmath.pi


def exact_normal(m: Any, s: Any) -> Any:
    return HALF * (s * s - 1 - 2 * mpmath.log(s) + m * m)


def exact_laplace(m: Any, s: Any) -> Any:
    return s * mpmath.exp(-abs(m) / s) + abs(m) - mpmath.log(s) - 1


def exact_laplace_normal(m: Any, s: Any) -> Any:
    return HALF * (2 * s * s + m * m) - mpmath.log(s) + HALF * mpmath.log(PI / 2) - 1


def exact_normal_laplace(m: Any, s: Any) -> Any:
    t = m / s
    folded = s * mpmath.sqrt(2 / PI) * mpmath.exp(-t * t / 2) + m * mpmath.erf(t / mpmath.sqrt(2))
    return folded - mpmath.log(s) + HALF * mpmath.log(2 / PI) - HALF


CLOSED = {
    kl_normal: exact_normal,
    kl_laplace: exact_laplace,
    kl_laplace_normal: exact_laplace_normal,
    kl_normal_laplace: exact_normal_laplace,
}
named = pytest.mark.parametrize(("form", "exact"), CLOSED.items(), ids=lambda f: f.__name__)


@named
def test_divergence_in_float32_against_sixty_digits(form: Callable[..., Tensor], exact: Callable[..., Any]) -> None:
    """Of latents that are all but collapsed, to 1e-4 of the divergence itself, which may be 1e-14 nats."""
    sizes = torch.tensor([0.0, 1e-7, -1e-6, 1e-5, -1e-4, 1e-3, -1e-2, 0.1, -0.29, 0.31, 1.0, -3.0])
    loc, log_scale = torch.cartesian_prod(sizes, sizes).T
    zero = torch.zeros(())
    divergence = form(loc, log_scale, zero, zero)
    assert divergence.dtype == torch.float32
    worst = 0.0
    for m, s, value in zip(loc.tolist(), log_scale.tolist(), divergence.tolist(), strict=True):
        right = exact(mpmath.mpf(m), mpmath.exp(mpmath.mpf(s)))
        if m == s == 0 and right < 1e-50:
            assert value == 0
        else:
            worst = max(worst, float(abs(value - right) / right))
    print(f"{form.__name__}: relative error at most {worst:.1e}")
    assert worst < 1e-4


@named
def test_divergence_is_never_negative(form: Callable[..., Tensor], exact: Callable[..., Any]) -> None:
    del exact
    size = 10 ** torch.empty(4, 50_000).uniform_(-8, 1)
    q_loc, q_log_scale, p_loc, p_log_scale = size * torch.randn_like(size).sign()
    for shift in (0.0, 1.0):  # around one place, and q on top of p
        divergence = form(shift * p_loc + q_loc, shift * p_log_scale + q_log_scale, p_loc, p_log_scale)
        assert (divergence >= 0).all()
    assert (form(p_loc, p_log_scale, p_loc, p_log_scale) >= 0).all()


@pytest.mark.parametrize("size", [1e-4, 1e-3, 1e-2])
def test_the_rate_of_a_model_in_half_precision_near_the_prior(size: float, images: Tensor) -> None:
    """In bfloat16 the terms of such a divergence cancel to what may be negative."""
    torch.manual_seed(0)
    model = tiny(VAE)
    with torch.no_grad():
        model.encoder.layers[-1].bias.normal_().mul_(size)
        model.encoder.layers[-1].weight.zero_()
    params = model.bfloat16().encoder(images.bfloat16()).double()
    rate = model.elbo(images.bfloat16()).kl
    assert rate.dtype == torch.float32
    assert (rate > 0).all()
    loc, log_scale = params.unbind(1)
    exact = (torch.expm1(2 * log_scale) - 2 * log_scale + loc**2).sum(-1) / 2
    torch.testing.assert_close(rate.double(), exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("event_dims", [0, 1])
def test_binary_values_within_a_millionth_of_a_nat(event_dims: int) -> None:
    """Of one value by torch's formula and by ours, and of a block of 64 that shares a logarithm by ours, for each."""
    logits = torch.cat([torch.linspace(-100, 100, 20_001), torch.tensor([-17.0, 17.0, -88.8, 88.8, 0.0])])
    for block in (1, 64) if event_dims else (1,):
        rows = logits[: len(logits) // block * block].reshape(-1, block)
        for x in (torch.zeros_like(rows), torch.ones_like(rows)):
            log_prob = IndependentBernoulli(rows, event_dims).log_prob(x).double()
            wide = rows.double()
            exact = -torch.nn.functional.softplus(torch.where(x > 0, -wide, wide), threshold=1000)
            exact = exact.sum(-1) if event_dims else exact
            rounding = 0.0 if block == 1 else 1.2e-7 * exact.abs()  # of a sum of up to 6400 nats
            error = (log_prob - exact).abs() - rounding
            assert float(error.max()) / block < 1e-6
            assert log_prob.isfinite().all()


DENSITIES = [family for family in FAMILIES if family.is_density]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", DENSITIES, ids=lambda f: f.__name__)
def test_densities_keep_float32_in_autocast(family: type[Family], dtype: torch.dtype) -> None:
    """A network may compute in half precision; what it gives is taken as it is, and nothing is lost after it."""
    torch.manual_seed(0)
    made = family((1, 3, 3)).eval()  # a covariance of many dimensions is ill-conditioned by itself
    params = (0.5 * torch.randn(4, *made.param_shape)).to(dtype)
    with torch.no_grad(), torch.autocast("cpu", dtype):
        q = made(params)
        x = q.sample()
        log_prob = q.log_prob(x)
    assert log_prob.dtype == torch.float32
    with torch.no_grad():
        exact = made.double()(params.double()).log_prob(x.double())
    tolerance = 1e-2 if "Flow" in family.__name__ else 1e-5  # a flow's own networks do compute in half precision
    torch.testing.assert_close(log_prob.double(), exact, rtol=tolerance, atol=tolerance * 9)


PARTS: dict[str, tuple[str, str]] = {
    # Deliberately no gradient of the loss, in the encoder: Tucker et al. (2019) weight it twice.
    "IWAEDReG": ("decoder.", "loss"),
    # A draw of the sampler jumps where a proposal is accepted; its gradient is that of the distribution function.
    "GammaVAE": ("decoder.", "loss"),
    # Straight through the codebook: the encoder gets the decoder's gradient at the code, codes the pull alone.
    "VQVAE": ("decoder.", "loss"),
    # The encoder is trained on another bound than the rest: Rainforth et al. (2018).
    "PIWAE": ("decoder.", "loss"),
}
"""Of models, and what derives from them, whose other gradients are no gradient of their loss: parameters to look at,
and what they are to follow."""


def slope(model: Any, value: Callable[[], Tensor], direction: dict[str, Tensor], step: float = 1e-5) -> float:
    """Derivative of a value along a direction of the parameters, by central differences."""
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name in direction:
                    p.add_(direction[name], alpha=sign * step)
            ends.append(float(value()))
            for name, p in model.named_parameters():
                if name in direction:
                    p.sub_(direction[name], alpha=sign * step)
    return (ends[0] - ends[1]) / (2 * step)


def route_of(name: str, routes: Mapping[str, Any]) -> str:
    """The narrowest of the names of modules that a parameter belongs to."""
    return max((route for route in routes if not route or f"{name}.".startswith(f"{route}.")), key=len)


@pytest.mark.parametrize("cls", MODELS, ids=lambda cls: cls.__name__)
def test_the_gradient_is_that_of_the_loss(cls: type, images: Tensor) -> None:
    torch.manual_seed(0)
    model = tiny(cls).double().train()
    x, start = images[:8].double(), next((PARTS[c.__name__][0] for c in cls.__mro__ if c.__name__ in PARTS), "")
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def values() -> dict[str, Tensor]:
        model.load_state_dict(state | dict(model.named_parameters()))  # buffers may follow the batches
        return losses(model, x, c=labels(model, x))

    first = values()
    first["loss"].backward()
    routes = {"": {"loss": 1.0}} if start else model.routes() or {"": {"loss": 1.0}}  # each part by its own terms
    for key, named in routes.items():
        terms = held_weights(first, named)

        def value(terms: Mapping[str, float] = terms) -> Tensor:
            found = values()
            return sum((weight * found[name] for name, weight in terms.items()), torch.zeros(()))

        generator = torch.Generator().manual_seed(1)
        mine = {
            name: p
            for name, p in model.named_parameters()
            if p.grad is not None and name.startswith(start) and route_of(name, routes) == key
        }
        assert mine
        direction = {n: torch.randn(p.shape, generator=generator, dtype=p.dtype) for n, p in mine.items()}
        norm = sum(float(d.square().sum()) for d in direction.values()) ** 0.5  # so that few units cross their kink
        direction = {name: d / norm for name, d in direction.items()}
        numeric = slope(model, value, direction)
        given = sum(float((p.grad * direction[name]).sum()) for name, p in mine.items())
        assert given == pytest.approx(numeric, rel=1e-5, abs=1e-8), f"{cls.__name__} {key}"


def test_a_wrong_gradient_would_be_seen(images: Tensor) -> None:
    """IWAEDReG's encoder, whose estimator is no gradient of the loss, fails the test above by far."""
    torch.manual_seed(0)
    model, x = tiny(IWAEDReG).double(), images[:8].double()
    losses(model, x)["loss"].backward()
    mine = {name: p for name, p in model.named_parameters() if name.startswith("encoder.")}
    direction = {name: torch.ones_like(p) for name, p in mine.items()}
    given = sum(float(p.grad.sum()) for p in mine.values())
    assert given != pytest.approx(slope(model, lambda: losses(model, x)["loss"], direction), rel=1e-3)
