"""Likelihoods of counts against scipy, float64, enumeration and quadrature."""

from __future__ import annotations

import copy
import itertools
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Batches, quiet_trainer, tiny
from scipy import stats
from short import few
from torch import Tensor
from torch.utils.data import DataLoader

from vae_zoo.distributions import (
    CellCounts,
    Counted,
    Family,
    Multinomial,
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    observing,
)
from vae_zoo.distributions.likelihoods.tallies import NegativeBinomialTally, Total, ZeroInflatedTally
from vae_zoo.evaluation import bidirectional
from vae_zoo.functional import log_negative_binomial, log_poisson
from vae_zoo.models import VAE
from vae_zoo.nn import Dense
from vae_zoo.testing import examine

MEANS = (1e-5, 0.03, 0.7, 12.0, 900.0, 1e5)
DISPERSIONS = (1e-4, 0.2, 1.0, 30.0, 1e5)
COUNTS = np.array([0, 1, 2, 3, 7, 9, 10, 11, 40, 1000, 99_000, 100_000], dtype=float)

CASES: dict[str, Any] = {
    "Poisson": Poisson,
    "Poisson, library": partial(Poisson, library=True),
    "NegativeBinomial": NegativeBinomial,
    "NegativeBinomial, library": partial(NegativeBinomial, library=True),
    "NegativeBinomial, per entry": partial(NegativeBinomial, per_entry=True),
    "ZINB": ZeroInflatedNegativeBinomial,
    "ZINB, library, per entry": partial(ZeroInflatedNegativeBinomial, library=True, per_entry=True),
    "CellCounts, library": CellCounts,
    "Multinomial": Multinomial,
}
every = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


def exact_parts(make: Any, params: np.ndarray, total: float | None) -> tuple[Any, np.ndarray | float]:
    """scipy's distribution of the entries of one event and the probability of a further 0, in float64."""
    family = make((params.shape[-1],))
    rows = params[None] if params.ndim == 1 else params
    mean = np.exp(rows[0])
    if family.library:
        mean = total * mean / mean.sum()
    if isinstance(family, Multinomial):
        return stats.multinomial(int(total or 0), mean / mean.sum()), 0.0
    if isinstance(family, Poisson):
        return stats.poisson(mean), 0.0
    theta = 1.0 if family.log_dispersion is not None else np.exp(rows[-1])
    zero = 1 / (1 + np.exp(-rows[1])) if isinstance(family, ZeroInflatedNegativeBinomial) else 0.0
    return stats.nbinom(theta, theta / (theta + mean)), zero


def exact_log_prob(make: Any, params: np.ndarray, x: np.ndarray, total: float | None = None) -> float:
    d, zero = exact_parts(make, params, x.sum() if total is None else total)
    if make is Multinomial:
        return float(d.logpmf(x))
    pmf = zero * (x == 0) + (1 - zero) * d.pmf(x)
    return float(np.log(pmf).sum())


class TestFormulas:
    @pytest.mark.parametrize("mean", MEANS)
    def test_agree_with_scipy(self, mean: float) -> None:
        x, log_mean = torch.tensor(COUNTS), torch.tensor(math.log(mean), dtype=torch.float64)
        expected = torch.tensor(stats.poisson.logpmf(COUNTS, mean))
        torch.testing.assert_close(log_poisson(x, log_mean), expected, rtol=1e-9, atol=1e-8)
        for theta in DISPERSIONS:
            given = log_negative_binomial(x, log_mean, torch.tensor(math.log(theta), dtype=torch.float64))
            expected = torch.tensor(stats.nbinom.logpmf(COUNTS, theta, theta / (theta + mean)))
            torch.testing.assert_close(given, expected, rtol=1e-7, atol=2e-6)

    def test_float32_for_counts_up_to_a_hundred_thousand(self) -> None:
        """Where the usual formula adds terms of a million nats, and is off by a tenth."""
        x = torch.tensor([0.0, 1.0, 9.0, 10.0, 300.0, 1e5, 99_800.0, 100_500.0])
        log_mean, log_theta = (torch.tensor(values).log()[:, None, None] for values in ((3.0, 1e5), (0.3, 20.0, 1e5)))
        log_mean = log_mean.movedim(0, 1)
        for given, exact in (
            (log_poisson(x, log_mean), log_poisson(x.double(), log_mean.double())),
            (
                log_negative_binomial(x, log_mean, log_theta),
                log_negative_binomial(x.double(), log_mean.double(), log_theta.double()),
            ),
        ):
            error = (given.double() - exact).abs() / exact.abs().clamp(min=1)
            assert float(error.max()) < 1e-4
        usual = x * math.log(1e5) - 1e5 - torch.lgamma(x + 1)
        assert float((usual[-3:] - log_poisson(x, torch.tensor(1e5).log())[-3:]).abs().max()) > 0.01

    def test_gradients_agree_with_float64(self) -> None:
        x = torch.tensor([0.0, 1.0, 12.0, 5000.0, 1e5])
        for mean, theta in itertools.product((0.01, 5.0, 1e5), (0.01, 2.0, 1e4)):
            ends = []
            for dtype in (torch.float32, torch.float64):
                start = [torch.full((5,), math.log(v), dtype=dtype).requires_grad_() for v in (mean, theta)]
                total = log_negative_binomial(x.to(dtype), *start).sum() + log_poisson(x.to(dtype), start[0]).sum()
                ends.append(torch.stack(torch.autograd.grad(total, start)).double())
            torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize("zero", [False, True])
    def test_second_derivatives_exist_far_away_from_the_counts(self, zero: bool) -> None:
        """Leapfrog steps need them, and networks that are not trained yet give means of any size."""
        x, found = torch.tensor([0.0, 1.0, 500.0]), []
        for dtype in (torch.float32, torch.float64):
            log_mean = torch.tensor([[-1e4], [-300.0], [-5.0], [0.0], [12.0], [300.0]], dtype=dtype).requires_grad_()
            log_theta = torch.zeros((), dtype=dtype).requires_grad_()
            none = Total(log_theta.detach(), log_theta.detach())
            logits = torch.full_like(log_mean, -3.0).detach()
            tally = (
                ZeroInflatedTally(logits, log_theta, log_mean, 0, none)
                if zero
                else NegativeBinomialTally(log_theta, log_mean, 0, none)
            )
            (slope,) = torch.autograd.grad(tally.log_prob(x.to(dtype)).sum(), log_mean, create_graph=True)
            both = torch.autograd.grad(slope.sum(), (log_mean, log_theta))
            found.append(torch.cat([g.flatten().double() for g in both]))
        torch.testing.assert_close(*found, rtol=1e-3, atol=1e-4)

    def test_the_limit_of_a_large_dispersion_is_poisson(self) -> None:
        x, log_mean = torch.arange(30.0, dtype=torch.float64), torch.tensor(2.0, dtype=torch.float64)
        given = log_negative_binomial(x, log_mean, torch.tensor(25.0, dtype=torch.float64))
        torch.testing.assert_close(given, log_poisson(x, log_mean), rtol=1e-7, atol=1e-7)


class TestDensities:
    @every
    def test_agree_with_scipy(self, make: Any) -> None:
        family, generator = make((3,)), torch.Generator().manual_seed(0)
        params = torch.randn(20, *family.param_shape, generator=generator)
        x = torch.randint(0, 6, (20, 3), generator=generator).float()
        given = family(params).log_prob(x)
        expected = [
            exact_log_prob(make, p.double().numpy(), v.double().numpy()) for p, v in zip(params, x, strict=True)
        ]
        torch.testing.assert_close(given, torch.tensor(expected), rtol=1e-5, atol=1e-5)

    @every
    def test_sum_to_one(self, make: Any) -> None:
        """Over all counts; with a library, at a total that is given, whatever the total of the counts."""
        family = make((2,)).double()
        params = 0.4 * torch.randn(1, *family.param_shape, dtype=torch.float64)
        grid = torch.cartesian_prod(torch.arange(160.0), torch.arange(160.0)).double()
        given = observing(family(params), torch.tensor([[3.0, 4.0]], dtype=torch.float64))
        if isinstance(family, Multinomial):  # of all counts with a total: p(x | n) of each n sums to 1
            given = family(params)
            grid = torch.stack([torch.arange(8.0), 7 - torch.arange(8.0)], 1).double()
        assert given.log_prob(grid).exp().sum().item() == pytest.approx(1, rel=1e-6)

    @every
    def test_moments_are_those_of_draws(self, make: Any) -> None:
        family = make((2, 3))
        cells = torch.exp(3 + 0.5 * torch.randn(4000, 1, 1)).expand(-1, 2, 3) / 6
        family.initialise(cells)
        d = family(0.5 * torch.randn(2, *family.param_shape))
        for px in (d, observing(d, torch.full((2, 2, 3), 4.0))):
            x = px.sample((40_000,))
            assert x.shape == (40_000, 2, 2, 3)
            assert torch.equal(x, x.round())
            assert (x >= 0).all()
            error = 5 * px.stddev / 200
            assert ((x.mean(0) - px.mean).abs() <= error + 1e-3).all()
            torch.testing.assert_close(x.std(0), px.stddev, rtol=0.12, atol=0.02)

    def test_draws_of_a_multinomial_add_up(self) -> None:
        d = observing(Multinomial((7,))(torch.randn(1, 7)), torch.tensor([[0.0, 0, 20, 0, 5, 0, 0]]))
        assert (d.sample((500,)).sum(-1) == 25).all()
        assert torch.equal(d.mean.sum(-1).round(), torch.tensor([25.0]))

    def test_poisson_at_the_total_is_a_multinomial_times_that_of_the_total(self) -> None:
        params, x = torch.randn(8, 5).double(), torch.randint(0, 9, (8, 5)).double()
        poisson = Poisson((5,), library=True)(params).log_prob(x)
        total = x.sum(1)
        both = Multinomial((5,))(params).log_prob(x) + torch.tensor(stats.poisson.logpmf(total, total))
        torch.testing.assert_close(poisson, both)

    def test_zero_inflation_adds_probability_to_zero_alone(self) -> None:
        family = ZeroInflatedNegativeBinomial((1,))
        params = torch.tensor([[[0.5], [0.3]]])
        x = torch.arange(4.0)[:, None]
        plain, pi = NegativeBinomial((1,))(params[:, 0]).log_prob(x).exp(), torch.sigmoid(torch.tensor(0.3))
        expected = (1 - pi) * plain + torch.tensor([pi, 0, 0, 0])
        torch.testing.assert_close(family(params).log_prob(x).exp(), expected)

    @every
    def test_nothing_counted(self, make: Any) -> None:
        family = make((4,))
        params = torch.randn(2, *family.param_shape).requires_grad_()
        log_prob = family(params).log_prob(torch.zeros(2, 4))
        log_prob.sum().backward()
        assert params.grad.isfinite().all()
        if family.library:
            torch.testing.assert_close(log_prob, torch.zeros(2))  # of a total of 0 there is one outcome


class TestLibrary:
    def test_the_total_scales_the_mean(self) -> None:
        """Twice as many counts of every gene are as likely at twice the total: not so without."""
        share = torch.tensor([[0.7, 0.2, 0.1]])
        x = torch.tensor([[70.0, 20, 10], [700, 200, 100]])
        for family, equal in ((Poisson((3,), library=True), True), (Poisson((3,)), False)):
            found = (family(share.log()).log_prob(x) - stats_of_mode(x)).abs().max().item()
            assert (found < 1e-3) == equal

    def test_is_estimated_from_the_totals(self) -> None:
        family, totals = NegativeBinomial((2,), library=True), torch.tensor([8.0, 20, 50, 0])
        family.initialise(torch.stack([totals / 2, totals / 2], 1))
        logs = totals[:3].log()
        assert family.total_location.item() == pytest.approx(logs.mean().item())
        assert family.total_spread.item() == pytest.approx(logs.std(correction=0).item(), rel=1e-6)
        family.initialise(torch.zeros(3, 2))
        assert family.total_location.item() == pytest.approx(logs.mean().item())
        half = copy.deepcopy(family).bfloat16()
        assert half.total_location.dtype == torch.float32
        assert half.total_location == family.total_location

    def test_once_before_the_first_step_and_not_on_resuming(self, tmp_path: Path, count_loader: DataLoader) -> None:
        model = tiny(VAE, shape=(6,), likelihood=partial(NegativeBinomial, library=True))
        trainer = quiet_trainer(tmp_path, max_epochs=1)
        trainer.fit(model, count_loader, count_loader)
        first = next(iter(count_loader))[0].sum(1).log()
        location = model.likelihood.total_location.clone()
        assert location.item() == pytest.approx(first.mean().item(), rel=1e-5)
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        again = tiny(VAE, shape=(6,), likelihood=partial(NegativeBinomial, library=True))
        other = DataLoader(torch.utils.data.TensorDataset(torch.full((8, 6), 90.0)), 4)
        quiet_trainer(tmp_path, max_epochs=2).fit(again, other, other, ckpt_path=tmp_path / "a.ckpt")
        assert torch.equal(again.likelihood.total_location, location)

    def test_reconstructions_are_at_the_examples_own_total(self) -> None:
        model = tiny(VAE, shape=(6,), likelihood=partial(Poisson, library=True))
        x = torch.tensor([[1.0, 0, 0, 2, 0, 0], [50, 3, 0, 0, 0, 40]])
        torch.testing.assert_close(model.reconstruct(x).sum(1), x.sum(1))
        torch.testing.assert_close(model.predict_step((x, None), 0)["reconstruction"].sum(1), x.sum(1))
        torch.testing.assert_close(model.sample(5).sum(1), torch.full((5,), 6.0))  # before a fit: a mean of 1

    def test_draws_do_not_follow_the_density_of_a_plugged_in_total(self) -> None:
        valid = {name: make((3,)).draws_valid for name, make in CASES.items()}
        assert [name for name, value in valid.items() if not value] == [n for n in CASES if "library" in n]
        with pytest.raises(TypeError, match=r"^chains back need examples that follow p\(x\|z\), and Poisson takes"):
            bidirectional(tiny(VAE, shape=(3,), likelihood=partial(Poisson, library=True)), 2)


def stats_of_mode(x: Tensor) -> Tensor:
    """Log-probability of Poisson counts at their own values."""
    return torch.tensor(stats.poisson.logpmf(x, x).sum(1))


@pytest.fixture
def count_loader() -> DataLoader:
    x = torch.poisson(torch.rand(32, 6, generator=torch.Generator().manual_seed(0)) * 9)
    return DataLoader(torch.utils.data.TensorDataset(x), 8)


@pytest.mark.parametrize("name", ["NegativeBinomial, library", "ZINB, library, per entry", "Multinomial"])
def test_the_evidence_is_the_integral_over_the_latent(name: str) -> None:
    """log p(x | l) of a model with one latent, by quadrature with scipy's probabilities."""
    torch.manual_seed(3)
    make = CASES[name]
    linear = partial(Dense, hidden=[])
    model = VAE(shape=(3,), latent_dim=1, encoder=linear, decoder=linear, likelihood=make).double().eval()
    x = torch.tensor([[3.0, 0.0, 5.0], [0.0, 1.0, 0.0]], dtype=torch.float64)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    with torch.no_grad():
        for p in model.encoder.parameters():  # the prior as the posterior
            p.zero_()
        params = model.decoder(torch.tensor(nodes)[:, None]).numpy()
        found = model.log_evidence(x, num_samples=40_000)
        bound = model.elbo(x, num_samples=2000).value
    weights = np.log(weights / math.sqrt(2 * math.pi))
    for row, value, lower in zip(x.numpy(), found, bound, strict=True):
        terms = [w + exact_log_prob(make, p, row) for w, p in zip(weights, params, strict=True)]
        exact = np.logaddexp.reduce(terms)
        assert value.item() == pytest.approx(exact, abs=0.02)
        assert lower.item() < exact + 0.02


class TestData:
    @every
    @pytest.mark.parametrize(("value", "text"), [(0.5, "0.5"), (-1.0, "-1"), (2.25, "2.25")])
    def test_others_are_refused_by_row(self, make: Any, value: float, text: str) -> None:
        family, x = make((4,)), torch.ones(9, 4)
        family.check(x)
        x[5, 2] = x[7, 1] = value
        name = type(family).__name__
        with pytest.raises(ValueError, match="row") as error:
            family.check(x)
        assert str(error.value) == (
            f"{name} needs counts, whole numbers from 0 on, and row 5 has {text} in column 2: give raw counts, neither "
            "normalised nor on a logarithmic scale."
        )

    def test_before_the_first_step(self, tmp_path: Path) -> None:
        model = tiny(VAE, shape=(4,), likelihood=NegativeBinomial)
        x = torch.ones(6, 4)
        x[1, 3] = 0.7
        with pytest.raises(ValueError, match=r"^NegativeBinomial needs counts, .* row 1 has 0\.7 in column 3: "):
            quiet_trainer(tmp_path).fit(model, Batches(x), Batches(x))

    @every
    def test_missing_values_have_no_term(self, make: Any) -> None:
        """Where the entries are independent: an unknown total scales all of them."""
        family = make((3,))
        if family.library:
            with pytest.raises(ValueError, match="scores an example as a whole"):
                family.observe()
            return
        params, x = torch.randn(2, *family.param_shape), torch.tensor([[1.0, 0.0, 4.0], [2.0, 7.0, 0.0]])
        rest = make((2,))(params[..., :2]).log_prob(x[:, :2])
        family.observe()
        x[:, 2] = math.nan
        family.check(x)
        torch.testing.assert_close(family(params).log_prob(x), rest)
        x[1, 1] = 0.5
        with pytest.raises(ValueError, match=r"row 1 has 0\.5 in column 1"):
            family.check(x)

    @pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 256), (torch.float16, 2048)])
    def test_rounded_ones_are_refused(self, dtype: torch.dtype, most: int) -> None:
        family, x = Poisson((2,)), torch.ones(3, 2)
        x[2, 1] = most
        family.check(x.to(dtype))
        x[2, 1] = most + most / 8
        family.check(x)
        with pytest.raises(ValueError, match=r"half precision rounds those above 256: row 2 .* take bf16-mixed\.$"):
            family.check(x.to(dtype))

    @pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf, 1e9])
    def test_bad_dispersions(self, bad: float) -> None:
        with pytest.raises(ValueError, match=r"^dispersion must lie in 4\.5e-05 \.\. 1\.6e\+05, got .*\.$"):
            NegativeBinomial((3,), dispersion=bad)


def test_what_is_learned() -> None:
    assert not list(Poisson((3,), library=True).parameters())
    assert [(n, p.shape) for n, p in NegativeBinomial((2, 3)).named_parameters()] == [("log_dispersion", (2, 3))]
    assert not list(ZeroInflatedNegativeBinomial((3,), per_entry=True).parameters())
    shapes = {name: make((3,)).param_shape for name, make in CASES.items()}
    assert shapes["NegativeBinomial"] == shapes["Poisson"] == shapes["Multinomial"] == (3,)
    assert shapes["ZINB"] == shapes["NegativeBinomial, per entry"] == (2, 3)
    assert shapes["ZINB, library, per entry"] == (3, 3)
    assert NegativeBinomial((3,), dispersion=4.0).log_dispersion.exp().tolist() == pytest.approx([4.0] * 3)


def test_a_dispersion_is_learned() -> None:
    torch.manual_seed(0)
    d = stats.nbinom(3.0, 3.0 / (3.0 + 20.0))
    x = torch.tensor(d.rvs((5000, 1), random_state=0)).float()
    family = NegativeBinomial((1,))
    optimizer = torch.optim.Adam(family.parameters(), lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        (-family(torch.full((5000, 1), math.log(20.0))).log_prob(x).mean()).backward()
        optimizer.step()
    assert family.log_dispersion.exp().item() == pytest.approx(3, rel=0.1)


def test_kinds() -> None:
    kinds: list[type[Family]] = [Poisson, NegativeBinomial, ZeroInflatedNegativeBinomial, Multinomial]
    assert all(issubclass(k, Counted) and k.is_density and k((3,)).is_discrete for k in kinds)


def test_a_mean_does_not_overflow() -> None:
    params = torch.tensor([[11.0, 12.0, 12.5, 1000.0]]).requires_grad_()
    d = Poisson((4,))(params)
    torch.testing.assert_close(d.mean[0, :2], params[0, :2].exp())
    assert (d.mean[0].diff() > 0).all()
    d.log_prob(torch.zeros(1, 4)).sum().backward()
    assert (params.grad < 0).all()
    assert params.grad.isfinite().all()


@pytest.mark.parametrize("name", few(["NegativeBinomial, library", "Multinomial"], 1))
def test_conformance(name: str) -> None:
    report = examine(VAE, likelihood=CASES[name], only=("gradients", "tiling", "one_graph", "autocast", "extremes"))
    assert report.passed, list(report.failures)


@pytest.mark.exhaustive
@every
def test_conformance_of_all(make: Any) -> None:
    report = examine(VAE, likelihood=make)
    assert report.passed, list(report.failures)
