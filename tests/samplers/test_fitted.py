"""Densities fitted to latents of known distributions against these and against scikit-learn."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from short import few
from torch import Tensor
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal

from vae_zoo.distributions import CholeskyNormal, TwoStageDistribution, tempered
from vae_zoo.distributions.estimation.mixtures import fit_mixture, k_means
from vae_zoo.distributions.estimation.moments import RIDGE
from vae_zoo.samplers import GMM, KDE, MAF, CodeDensity, Density, FittedNormal, Spline, TwoStage
from vae_zoo.samplers.kde import Kernels

brief = {"max_epochs": 3}
DENSITIES: list[Any] = [
    FittedNormal,
    partial(GMM, num_components=3),
    KDE,
    partial(KDE, num_points=200),
    partial(MAF, **brief, hidden=(8,)),
    partial(Spline, **brief, hidden=(8,)),
    partial(TwoStage, **brief, hidden=(8,)),
]
EXACT = [make for make in DENSITIES if getattr(make, "func", make) is not TwoStage]


def name(make: Any) -> str:
    return getattr(make, "func", make).__name__


def truth() -> MixtureSameFamily:
    generator = torch.Generator().manual_seed(0)
    weights = torch.tensor([0.1, 0.3, 0.2, 0.25, 0.15], dtype=torch.float64)
    loc = 3 * torch.randn(5, 2, generator=generator, dtype=torch.float64)
    factors = 0.7 * torch.randn(5, 2, 2, generator=generator, dtype=torch.float64)
    covariance = factors @ factors.mT + 0.1 * torch.eye(2, dtype=torch.float64)
    return MixtureSameFamily(Categorical(weights), MultivariateNormal(loc, covariance))


@pytest.fixture(scope="module")
def latents() -> Tensor:
    torch.manual_seed(1)
    return truth().sample((4000,)).float()


@pytest.fixture(scope="module")
def held_out() -> Tensor:
    torch.manual_seed(2)
    return truth().sample((4000,)).float()


def mean_log_prob(p: Distribution, z: Tensor) -> float:
    with torch.no_grad():
        return p.log_prob(z).double().mean().item()


@pytest.mark.parametrize("make", DENSITIES, ids=name)
class TestEveryDensity:
    def test_before_it_is_fitted(self, make: Any) -> None:
        density = make((3,))
        assert int(density.num_latents) == 0
        p = density()
        assert (p.batch_shape, p.event_shape) == ((), (3,))
        assert p.sample((7,)).shape == (7, 3)
        assert p.log_prob(torch.randn(2, 7, 3)).shape == (2, 7)
        assert density.bfloat16()().sample().dtype == torch.float32
        assert make((3,)).double()().sample().dtype == torch.float64

    def test_a_refit_is_bitwise_the_same_and_draws_nothing(self, make: Any, latents: Tensor) -> None:
        z, density = latents[:300], make((2,))
        state = torch.get_rng_state()
        density.fit(z)
        assert torch.equal(torch.get_rng_state(), state)
        fitted = {key: x.clone() for key, x in density.state_dict().items()}
        for again in (density.fit(z.split(77)), make((2,)).fit(iter(z.split(100)))):
            assert all(torch.equal(x, fitted[key]) for key, x in again.state_dict().items())
        assert int(density.num_latents) == 300
        other = make((2,)).fit(z + 1)
        assert not all(torch.equal(x, fitted[key]) for key, x in other.state_dict().items())

    def test_its_settings_make_another_with_the_same_tensors(self, make: Any, latents: Tensor) -> None:
        density = make((2,)).fit(latents[:300])
        again = type(density)((2,), **density.settings)
        again.load_state_dict(density.state_dict())
        torch.manual_seed(0)
        expected = density().sample((5,))
        torch.manual_seed(0)
        assert torch.equal(again().sample((5,)), expected)

    def test_of_maps(self, make: Any) -> None:
        z = torch.randn(300, 3, 1, 2) * torch.tensor([1.0, 3.0]) + 5
        p = make((3, 1, 2)).fit(z)()
        draws = p.sample((2000,))
        assert draws.shape == (2000, 3, 1, 2)
        assert p.log_prob(draws).shape == (2000,)
        torch.testing.assert_close(draws.mean(0), z.mean(0), rtol=0, atol=1.0)
        if make in EXACT:  # three epochs do not fit a second stage
            torch.testing.assert_close(draws.std(0).mean((0, 1)), torch.tensor([1.0, 3.0]), rtol=0.6, atol=0)

    def test_bad_latents(self, make: Any) -> None:
        density = make((2,))
        with pytest.raises(ValueError, match=r"latents of shape \(2,\), got \(3,\)"):
            density.fit(torch.zeros(100, 3))
        with pytest.raises(ValueError, match=r"needs at least \d+ latents, got 0"):
            density.fit([])
        with pytest.raises(ValueError, match="finite"):
            density.fit(torch.full((300, 2), math.nan))
        with pytest.raises(ValueError, match="seed must be at least 0"):
            make((2,), seed=-1)

    def test_a_dimension_without_spread(self, make: Any, latents: Tensor) -> None:
        z = torch.cat([latents[:300], torch.full((300, 1), 2.0)], 1)
        p = make((3,)).fit(z)()
        draws = p.sample((100,))
        assert draws.isfinite().all()
        assert p.log_prob(draws).isfinite().all()
        assert (draws[:, 2] - 2).abs().max() < 0.1

    def test_temperature(self, make: Any, latents: Tensor) -> None:
        p = make((2,)).fit(latents[:300])()
        assert tempered(p, 0.5).sample((2000,)).var(0).sum() < p.sample((2000,)).var(0).sum()


@pytest.mark.parametrize("make", EXACT, ids=name)
def test_samples_and_density_agree(make: Any, latents: Tensor) -> None:
    """∫ p = 1 on a grid, and draws fall into its cells as often as p says: each would fail by itself."""
    p = make((2,)).fit(latents[:300])()
    side = torch.linspace(-14, 14, 281)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        mass = p.log_prob(grid).double().exp().view(281, 281) * 0.1**2
    assert mass.sum().item() == pytest.approx(1, abs=0.02)
    draws = p.sample((20_000,))
    for dim in (0, 1):
        cumulated = (mass.sum(1 - dim) / mass.sum()).cumsum(0)
        empirical = (draws[:, dim, None] <= side + 0.05).double().mean(0)
        assert (cumulated - empirical).abs().max() < 1.95 / math.sqrt(len(draws)) + 0.004
    entropy = -(mass * (mass / 0.1**2).clamp(min=1e-300).log()).sum().item()
    assert mean_log_prob(p, draws) == pytest.approx(-entropy, abs=0.04)


class TestGMM:
    def test_held_out_likelihood_of_a_known_mixture(self, latents: Tensor, held_out: Tensor) -> None:
        p = GMM((2,), num_components=5).fit(latents)()
        assert mean_log_prob(p, held_out) == pytest.approx(truth().log_prob(held_out.double()).mean().item(), abs=0.02)

    def test_scikit_learn_finds_the_same(self, latents: Tensor) -> None:
        mixture = pytest.importorskip("sklearn.mixture")
        ridge = RIDGE * latents.double().var(0, correction=0).mean().item()
        theirs = mixture.GaussianMixture(5, n_init=3, reg_covar=ridge, tol=1e-6, max_iter=500, random_state=0)
        theirs.fit(latents.double().numpy())
        density = GMM((2,), num_components=5, tolerance=1e-7).fit(latents)
        order = density.loc[:, 0].argsort()
        theirs_order = theirs.means_[:, 0].argsort()
        to = partial(torch.as_tensor, dtype=torch.float32)
        close = partial(torch.testing.assert_close, rtol=0.02, atol=0.02)
        close(density.loc[order], to(theirs.means_[theirs_order]))
        close(density.logits.exp()[order], to(theirs.weights_[theirs_order]))
        covariance = density().component_distribution.scale_tril
        close((covariance @ covariance.mT)[order], to(theirs.covariances_[theirs_order]), atol=0.05)
        own = mean_log_prob(density(), latents)
        assert own == pytest.approx(theirs.score(latents.double().numpy()), abs=1e-3)

    def test_density_of_a_mixture(self, held_out: Tensor) -> None:
        density = GMM((2,), num_components=5)
        p = truth()
        tril = p.component_distribution.scale_tril
        density.logits.copy_(p.mixture_distribution.logits)
        density.loc.copy_(p.component_distribution.loc)
        density.lower.copy_(tril.tril(-1))
        density.log_diagonal.copy_(tril.diagonal(dim1=-2, dim2=-1).log())
        torch.testing.assert_close(density().log_prob(held_out), p.log_prob(held_out.double()).float())

    def test_no_step_lowers_the_likelihood(self, latents: Tensor) -> None:
        z, values = latents[:500].double(), []
        for steps in range(1, 12):
            generator = torch.Generator().manual_seed(3)
            _, value = fit_mixture(z, 4, num_starts=1, max_steps=steps, tolerance=1e-12, generator=generator)
            values.append(value)
        assert values == sorted(values)
        assert values[-1] > values[0]

    def test_more_starts_are_at_least_as_good(self, latents: Tensor) -> None:
        fits = [GMM((2,), num_components=5, num_starts=n).fit(latents[:1000])() for n in (1, 6)]
        assert mean_log_prob(fits[1], latents[:1000]) >= mean_log_prob(fits[0], latents[:1000]) - 1e-6

    def test_equal_latents(self) -> None:
        z = torch.cat([torch.zeros(20, 2), torch.ones(20, 2)])
        p = GMM((2,), num_components=5).fit(z)()
        assert p.log_prob(z).isfinite().all()
        assert GMM((2,), num_components=2).fit(torch.zeros(20, 2))().sample((5,)).isfinite().all()

    def test_too_few_latents_are_refused_and_not_fewer_components_taken(self) -> None:
        with pytest.raises(ValueError, match="GMM needs at least 10 latents, got 9"):
            GMM((2,)).fit(torch.randn(9, 2))

    @pytest.mark.parametrize("bad", [{"num_components": 0}, {"num_starts": 0}, {"max_steps": 0}, {"tolerance": 0.0}])
    def test_bad_values(self, bad: dict[str, float]) -> None:
        (argument,) = bad
        with pytest.raises(ValueError, match=f"{argument} must be"):
            GMM((2,), **bad)  # type: ignore[arg-type]

    def test_centres_of_separate_clusters(self) -> None:
        torch.manual_seed(0)
        corners = torch.tensor([[0.0, 0], [10, 0], [0, 10], [10, 10]], dtype=torch.float64)
        z = corners.repeat(50, 1) + 0.1 * torch.randn(200, 2, dtype=torch.float64)
        found = k_means(z, 4, torch.Generator().manual_seed(0))
        assert (found - corners[:, None]).norm(dim=-1).min(1).values.max() < 0.1


class TestKDE:
    def test_scikit_learn_gives_the_same_density(self, latents: Tensor, held_out: Tensor) -> None:
        neighbors = pytest.importorskip("sklearn.neighbors")
        z, x = latents[:500].double(), held_out[:500].double()
        density = KDE((2,), bandwidth=0.3).fit(latents[:500])
        scale = (z.var(0, correction=0) * (1 + RIDGE)).sqrt()
        theirs = neighbors.KernelDensity(bandwidth=0.3).fit((z / scale).numpy()).score_samples((x / scale).numpy())
        got = density().log_prob(x.float()).double()
        torch.testing.assert_close(got, torch.as_tensor(theirs) - scale.log().sum(), rtol=1e-3, atol=1e-3)

    def test_the_bandwidth_is_the_best_of_a_grid_for_held_out_latents(self, latents: Tensor, held_out: Tensor) -> None:
        own = KDE((2,)).fit(latents[:1000])
        grid = [
            mean_log_prob(KDE((2,), bandwidth=h).fit(latents[:1000])(), held_out) for h in (0.01, 0.05, 0.1, 0.2, 1)
        ]
        assert mean_log_prob(own(), held_out) > max(grid) - 0.02
        assert mean_log_prob(own(), held_out) > max(grid[0], grid[-1]) + 0.1

    def test_the_bandwidth_by_hand(self) -> None:
        """Leave-one-out likelihood of the definition, with all pairs, on a fine grid."""
        torch.manual_seed(0)
        z = torch.randn(60, 1).double()
        own = KDE((1,)).fit(z)
        scale = z.std(0, correction=0)
        h = (own.log_scale.double().exp() / scale).item()
        square = ((z - z.T) / scale).square()
        square.fill_diagonal_(math.inf)

        def value(at: float) -> float:
            return (torch.logsumexp(-0.5 * square / at**2, 1) - math.log(at)).mean().item()

        grid = [0.02 * 1.02**n for n in range(250)]
        assert h == pytest.approx(max(grid, key=value), rel=0.03)

    def test_equal_latents_do_not_shrink_the_bandwidth(self, latents: Tensor) -> None:
        once, twice = (KDE((2,)).fit(z).log_scale for z in (latents[:400], latents[:400].repeat(2, 1)))
        torch.testing.assert_close(once, twice, rtol=0, atol=0.1)

    def test_many_points_are_drawn_without_a_draw_of_each(self) -> None:
        density = KDE((16,), num_points=50_000)
        assert density().sample((10_000,)).shape == (10_000, 16)
        assert isinstance(density(), Kernels)

    def test_a_part_of_the_latents(self, latents: Tensor) -> None:
        density = KDE((2,), num_points=100).fit(latents)
        assert density.points.shape == (100, 2)
        assert (density.points[:, None] == latents).all(-1).any(1).all()
        with pytest.raises(ValueError, match="KDE needs at least 100 latents, got 99"):
            density.fit(latents[:99])

    @pytest.mark.parametrize("bad", [{"num_points": 0}, {"num_points": 1}, {"bandwidth": 0.0}, {"bandwidth": math.inf}])
    def test_bad_values(self, bad: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="must be"):
            KDE((2,), **bad)


def test_the_fitted_normal_has_the_moments(latents: Tensor) -> None:
    p = FittedNormal((2,)).fit(latents)()
    assert isinstance(p, CholeskyNormal)
    torch.testing.assert_close(p.mean, latents.mean(0))
    torch.testing.assert_close(p.scale_tril @ p.scale_tril.mT, latents.T.cov(correction=0), rtol=1e-4, atol=1e-4)


@pytest.mark.slow  # trains for seconds
@pytest.mark.parametrize(("cls", "gap", "epochs"), few([(MAF, 0.6, 40), (Spline, 0.15, 40), (TwoStage, 0.9, 150)], 0))
def test_learned_densities_beat_the_normal_on_held_out_latents(
    cls: type[Density], gap: float, epochs: int, latents: Tensor, held_out: Tensor
) -> None:
    best = truth().log_prob(held_out.double()).mean().item()
    own = mean_log_prob(cls((2,), max_epochs=epochs, lr=5e-3).fit(latents)(), held_out)
    assert best - gap < own < best + 0.02
    assert own > mean_log_prob(FittedNormal((2,)).fit(latents)(), held_out) + 0.5


class TestCodes:
    def test_codes_of_a_known_distribution(self) -> None:
        torch.manual_seed(0)
        first = torch.randint(3, (400, 1))
        codes = torch.cat([first, (first + torch.randint(2, (400, 1))) % 3], 1)  # log 3 + log 2 nats
        density = CodeDensity((2,), 3, width=8, num_layers=1, max_epochs=60, lr=1e-2).fit(codes)
        assert -density.log_prob(codes).mean().item() == pytest.approx(math.log(6), abs=0.05)
        draws = density.sample(500)
        assert (((draws[:, 1] - draws[:, 0]) % 3 == 2).float().mean() < 0.05).item()

    def test_a_refit_is_bitwise_the_same(self) -> None:
        codes = torch.randint(5, (50, 2, 2))
        density = CodeDensity((2, 2), 5, width=8, num_layers=1, max_epochs=2).fit(codes)
        fitted = {key: x.clone() for key, x in density.state_dict().items()}
        again = CodeDensity((2, 2), 5, **density.settings).fit(codes.split(20))
        for one in (again, density.fit(codes)):
            assert all(torch.equal(x, fitted[key]) for key, x in one.state_dict().items())

    def test_bad_codes(self) -> None:
        density = CodeDensity((2, 2), 5, width=8)
        for bad, said in (
            (torch.zeros(20, 3, dtype=torch.long), r"integers in grids \(2, 2\)"),
            (torch.zeros(20, 2, 2), "integers in grids"),
            (torch.full((20, 2, 2), 5), r"0 \.\. 4, got 5 to 5"),
            (torch.zeros(5, 2, 2, dtype=torch.long), "at least 10 grids of codes, got 5"),
        ):
            with pytest.raises(ValueError, match=said):
                density.fit(bad)
        with pytest.raises(ValueError, match="patience must be at least 1"):
            CodeDensity((2, 2), 5, patience=0)


def test_a_two_stage_density_is_a_bound(latents: Tensor) -> None:
    density = TwoStage((2,), hidden=(16,), max_epochs=10).fit(latents)
    p = density()
    assert isinstance(p, TwoStageDistribution)
    z = latents[:20]
    with torch.no_grad():
        u = torch.randn(100_000, 2)
        decoded = density.base.decode(u)
        inner = (z[:, None] - density.loc) * torch.exp(-density.log_scale)
        log_p = torch.stack([decoded.log_prob(row).sum(-1).logsumexp(0) for row in inner]) - math.log(len(u))
        log_p = log_p - density.log_scale.sum()
        draws = torch.stack([p.log_prob(z) for _ in range(2000)])
    assert (draws.mean(0) < log_p + 0.05).all()
    gap = draws.logsumexp(0) - math.log(len(draws)) - log_p
    assert gap.abs().median() < 0.05, "the mean of its exponential is p(z)"
    assert (log_p - draws.mean(0)).mean() > 0.02, "and that of itself is below"
