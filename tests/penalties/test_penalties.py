"""Penalties against closed forms, and as terms of any model."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from helpers import build, losses, same_weights
from scipy import integrate
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.distributions import (
    DiagonalLaplace,
    DiagonalNormal,
    Dirichlet,
    FullNormal,
    Gumbel,
    MixtureNormal,
    PlanarFlow,
    Point,
    StandardNormal,
    VonMisesFisher,
)
from vae_zoo.distributions.normal import Normal, independent
from vae_zoo.models import (
    AE,
    DIPVAE,
    IWAE,
    VAE,
    VDVAE,
    BetaVAE,
    HamiltonianVAE,
    IWAEDReG,
    LadderVAE,
    PriorAE,
    TwoLevelVAE,
)
from vae_zoo.penalties import MMD, Covariance, Penalty, SlicedWasserstein

PENALTIES = (MMD, SlicedWasserstein, Covariance)
DIM = 4


def pair(num: int, mean: float = 0.5, scale: float = 0.5) -> tuple[Tensor, Distribution]:
    """Draws of N(m, s² I) in four dimensions, with a norm of m of 1 by default; and the standard normal prior."""
    return mean + scale * torch.randn(num, DIM), StandardNormal((DIM,))()


def point(z: Tensor) -> Distribution:
    return Point((DIM,))(z)


def rbf(gap: float, variance: float, width: float) -> float:
    """Mean of the Gaussian kernel of two normals whose means are ``gap`` apart, with that sum of variances."""
    return (width / (width + variance)) ** (DIM / 2) * math.exp(-gap / (2 * (width + variance)))


def imq(gap: float, variance: float, width: float) -> float:
    def inner(t: float) -> float:
        spread = 1 + 2 * t * variance
        return width * math.exp(-t * width) * spread ** (-DIM / 2) * math.exp(-t * gap / spread)

    return integrate.quad(inner, 0, math.inf)[0]


def exact(kernel: Any) -> float:
    return kernel(0.0, 0.5) + kernel(0.0, 2.0) - 2 * kernel(1.0, 1.25)


class TestMMD:
    def test_closed_forms(self) -> None:
        assert exact(partial(rbf, width=4.0)) == pytest.approx(0.179039, abs=1e-6)
        assert exact(partial(imq, width=8.0)) == pytest.approx(0.137207, abs=1e-6)

    @pytest.mark.parametrize("num", [16, 64, 256])
    @pytest.mark.parametrize("kernel", ["rbf", "imq"])
    def test_its_mean_is_exact_for_any_batch(self, num: int, kernel: Any) -> None:
        torch.manual_seed(0)
        mmd = MMD((DIM,), kernel=kernel)
        found = []
        for _ in range(48_000 // num // 4):
            z, p = pair(num)
            found.append(mmd(z, point(z), p)[0])
        values = torch.stack(found).double()
        scales = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
        summed = sum(exact(partial(imq, width=8 * s)) for s in scales)
        wanted = exact(partial(rbf, width=4.0)) if kernel == "rbf" else summed
        assert summed == pytest.approx(0.801934, abs=1e-5)
        error = (values.std() / len(values) ** 0.5).item()
        assert values.mean().item() == pytest.approx(wanted, abs=4.5 * error)

    def test_it_is_0_in_the_mean_for_draws_of_the_prior_and_not_clamped(self) -> None:
        torch.manual_seed(0)
        values = torch.stack([MMD((DIM,))(torch.randn(32, DIM), None, StandardNormal((DIM,))())[0] for _ in range(400)])
        assert values.min() < 0
        assert values.mean().abs() < 4.5 * values.std() / 20

    @pytest.mark.parametrize("kernel", ["rbf", "imq"])
    def test_the_median_is_that_of_the_distances_between_all_pairs_of_latents_and_draws(self, kernel: Any) -> None:
        torch.manual_seed(0)
        z, p = pair(6)
        torch.manual_seed(1)
        together = torch.cat([z, p.sample((6,))])
        median = torch.pdist(together).square().sort().values[(12 * 11 // 2 - 1) // 2].item()
        torch.manual_seed(1)
        found = MMD((DIM,), kernel=kernel, bandwidth="median")(z, point(z), p)[0]
        torch.manual_seed(1)
        torch.testing.assert_close(found, MMD((DIM,), kernel=kernel, bandwidth=median)(z, point(z), p)[0])

    def test_the_median_is_held_fixed(self) -> None:
        gradients = []
        for bandwidth in ("median", None):
            torch.manual_seed(0)
            z, p = pair(6)
            z.requires_grad_()
            if bandwidth is None:
                with torch.no_grad():
                    torch.manual_seed(1)
                    bandwidth = torch.pdist(torch.cat([z, p.sample((6,))])).square().median().item()
            torch.manual_seed(1)
            MMD((DIM,), kernel="rbf", bandwidth=bandwidth)(z, point(z), p)[0].backward()
            gradients.append(z.grad)
        torch.testing.assert_close(*gradients)

    def test_it_compiles_with_the_median(self) -> None:
        torch.manual_seed(0)
        z, p = pair(6)
        mmd = MMD((DIM,), kernel="rbf", bandwidth="median")
        compiled = torch.compile(lambda z: mmd(z, None, p)[0], fullgraph=True, backend="eager")
        assert compiled(z).isfinite()

    def test_latents_that_are_all_equal_have_a_median(self) -> None:
        z = torch.zeros(40, DIM)
        prior = independent(Normal(torch.zeros(DIM), torch.full((DIM,), -200.0)), 1)
        assert MMD((DIM,), bandwidth="median")(z, point(z), prior)[0].isfinite()

    def test_equal_latents_have_a_gradient(self) -> None:
        z = torch.zeros(5, DIM, requires_grad=True)
        MMD((DIM,))(z, point(z), StandardNormal((DIM,))())[0].backward()
        assert z.grad.isfinite().all()
        assert z.grad.any()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_last_batch_of_one_example_is_finite(penalty: type[Penalty]) -> None:
    """Of validation; batches of training have at least two."""
    z, p = pair(1)
    q = independent(Normal(z, torch.zeros_like(z)), 1)
    assert penalty((DIM,))(z, q, p)[0].isfinite()


class TestSlicedWasserstein:
    def test_closed_form(self) -> None:
        """SW₂² of N(m, s² I) and N(0, I) is |m|² / D + (s - 1)²."""
        torch.manual_seed(0)
        z, p = pair(4000)
        found, _ = SlicedWasserstein((DIM,), num_projections=500)(z, point(z), p)
        assert found.item() == pytest.approx(0.5, abs=0.02)

    def test_odd_powers_are_distances(self) -> None:
        torch.manual_seed(0)
        z, p = pair(500, mean=-2.0)
        odd = SlicedWasserstein((DIM,), power=3.0)(z, point(z), p)[0]
        assert odd > 1

    def test_it_depends_little_on_the_batch(self) -> None:
        """Sums over the batch, or a weight of 1 / B², would change it by factors."""
        torch.manual_seed(0)
        means = []
        for num in (64, 256):
            values = [SlicedWasserstein((DIM,))(z, point(z), p)[0] for z, p in (pair(num) for _ in range(40))]
            means.append(torch.stack(values).mean())
        assert means[0].item() == pytest.approx(means[1].item(), rel=0.15)


class TestCovariance:
    def whitened(self, num: int = 500) -> Tensor:
        torch.manual_seed(0)
        rows = torch.randn(num, DIM, dtype=torch.float64)
        rows = rows - rows.mean(0)
        return rows @ torch.linalg.inv(torch.linalg.cholesky(rows.T @ rows / num)).T

    def normal(self, mean: Tensor, log_scale: float) -> Distribution:
        return independent(Normal(mean, torch.full_like(mean, log_scale)), 1)

    def test_whitened_means_cost_nothing(self) -> None:
        q = self.normal(self.whitened(), -20.0)
        for means_only in (True, False):
            assert Covariance((DIM,), means_only=means_only)(q.mean, q, None)[0].item() == pytest.approx(0, abs=1e-12)

    def test_kind_two_adds_the_variances_of_the_posterior(self) -> None:
        q = self.normal(self.whitened(), math.log(0.5))
        assert Covariance((DIM,))(q.mean, q, None)[0].item() == pytest.approx(DIM * 0.25**2)
        assert Covariance((DIM,), means_only=True)(q.mean, q, None)[0].item() == pytest.approx(0, abs=1e-12)

    def test_weights_of_the_two_parts(self) -> None:
        mixing = torch.eye(DIM, dtype=torch.float64)
        mixing[0, 0], mixing[1, 0] = 2.0, 0.5
        q = self.normal(self.whitened() @ mixing.T, -20.0)
        sigma = mixing @ mixing.T
        off = (sigma - torch.diag(sigma.diagonal())).square().sum().item()
        own = (sigma.diagonal() - 1).square().sum().item()
        found = Covariance((DIM,), off_diagonal=3.0, diagonal=5.0)(q.mean, q, None)[0].item()
        assert found == pytest.approx(3 * off + 5 * own)

    def test_a_full_covariance(self) -> None:
        torch.manual_seed(0)
        q = FullNormal((DIM,))(torch.randn(6, *FullNormal((DIM,)).param_shape).double())
        z = q.rsample((20_000,)).flatten(0, 1)
        sampled = torch.cov(z.T, correction=0)
        off = (sampled - torch.diag(sampled.diagonal())).square().sum()
        own = (sampled.diagonal() - 1).square().sum()
        assert Covariance((DIM,))(q.mean, q, None)[0].item() == pytest.approx((off + own).item(), rel=0.05)

    @pytest.mark.parametrize("family", [Dirichlet, Gumbel, VonMisesFisher, PlanarFlow])
    def test_a_posterior_of_dependent_dimensions_is_refused(self, family: type) -> None:
        q = family((1, 3) if family is Gumbel else (3,)).at_zeros(2)
        with pytest.raises(ValueError, match="Covariance needs a posterior with independent dimensions"):
            Covariance((3,)).check(q, None)

    @pytest.mark.parametrize("family", [DiagonalNormal, DiagonalLaplace, FullNormal, Point])
    @pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
    def test_a_posterior_of_known_covariance_is_taken(self, family: type, shape: tuple[int, ...]) -> None:
        Covariance(shape).check(family(shape).at_zeros(2), None)

    @pytest.mark.parametrize("cls", [HamiltonianVAE, LadderVAE, TwoLevelVAE, VDVAE])
    def test_a_model_whose_posterior_has_no_known_covariance_is_refused(self, cls: type) -> None:
        with pytest.raises(TypeError, match="the covariance of its posterior is not known"):
            build(type("Both", (DIPVAE, cls), {}))


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("cls", [VAE, PriorAE, BetaVAE, IWAE])
def test_any_model_takes_it(cls: type, penalty: type[Penalty], images: Tensor) -> None:
    torch.manual_seed(0)
    plain = losses(build(cls), images)
    torch.manual_seed(0)
    penalised = losses(build(cls, penalties=[partial(penalty, weight=3.0)]), images)
    (name,) = penalised.keys() - plain.keys()
    assert penalised["loss"].isfinite()
    for key in plain.keys() - {"loss"}:
        torch.testing.assert_close(penalised[key], plain[key])
    torch.testing.assert_close(penalised["loss"], plain["loss"] + 3 * penalised[name])


def test_several_of_one_kind_have_names_of_their_own(images: Tensor) -> None:
    found = losses(build(VAE, penalties=[MMD, partial(MMD, kernel="rbf"), Covariance]), images)
    assert {"mmd", "mmd_2", "covariance"} <= found.keys()


def test_without_penalties_a_prior_changes_nothing(images: Tensor) -> None:
    ae, prior_ae = build(AE), build(PriorAE)
    torch.manual_seed(0)
    a = build(AE)
    torch.manual_seed(0)
    b = build(PriorAE)
    assert same_weights(a, b)
    torch.testing.assert_close(losses(a, images)["loss"], losses(b, images)["loss"], rtol=0, atol=0)
    assert not hasattr(ae, "sample")
    assert prior_ae.sample(3).shape == (3, 1, 8, 8)


def test_annealing_applies_to_penalties(images: Tensor) -> None:
    model = build(VAE, penalties=[MMD])
    model.kl_weight = torch.tensor(0.25)
    found = losses(model, images)
    expected = 0.25 * (found["kl"] + found["mmd"]) - found["reconstruction"]
    torch.testing.assert_close(found["loss"], expected)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: build(IWAEDReG, penalties=[MMD]), "IWAEDReG takes no penalties: the weights of the gradient"),
        (lambda: build(VAE, penalties=[partial(MMD, weight=-1.0)]), "weight must be at least 0 and finite, got -1.0"),
        (lambda: build(VAE, penalties=[partial(MMD, kernel="cosine")]), "kernel must be imq or rbf, got 'cosine'"),
        (lambda: build(VAE, penalties=[partial(MMD, bandwidth=0.0)]), "bandwidth must be positive and finite, got 0.0"),
        (lambda: build(VAE, penalties=[partial(MMD, bandwidth="mean")]), "must be a number or median, got 'mean'"),
        (lambda: build(VAE, penalties=[partial(MMD, scale=-1.0)]), "scale must be positive and finite, got -1.0"),
        (lambda: build(VAE, penalties=[DiagonalNormal]), "penalties must make a Penalty, got DiagonalNormal"),
        (lambda: build(PriorAE, posterior=DiagonalNormal), "has no use for the spread of DiagonalNormal"),
        (lambda: SlicedWasserstein((2,), power=0.5), "must be at least 1 and finite, got 50 and 0.5"),
    ],
)
def test_refuses(make: Any, line: str) -> None:
    with pytest.raises((ValueError, TypeError), match=line):
        make()


def test_a_prior_without_moments_needs_a_bandwidth() -> None:
    class Unknown(StandardNormal):
        def forward(self, c: Tensor | None = None) -> Distribution:
            class Bare(Distribution):
                has_rsample = False
                support = torch.distributions.constraints.real

            return Bare(torch.Size(), torch.Size(self.shape), validate_args=False)

    with pytest.raises(ValueError, match="the variance of Bare is unknown: give MMD the bandwidth"):
        MMD((DIM,)).check(point(torch.zeros(2, DIM)), Unknown((DIM,))())
    assert build(VAE, prior=MixtureNormal, penalties=[MMD]).penalties[0].weight == 1.0
