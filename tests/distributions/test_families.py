"""Every family of the package against torch.distributions, quadrature and enumeration."""

from __future__ import annotations

import itertools
import math
from functools import cached_property, partial
from pathlib import Path

import pytest
import torch
from helpers import FAMILIES, Batches, quiet_trainer, tiny
from short import few
from torch import Tensor
from torch.distributions import Binomial, Distribution, Independent, NegativeBinomial, Uniform, constraints

from vae_zoo.distributions import (
    AutoregressiveFlow,
    Bernoulli,
    DiagonalNormal,
    Family,
    FixedNormal,
    PlanarFlow,
    Point,
    RadialFlow,
    SharedNormal,
    SplineFlow,
    SylvesterFlow,
)
from vae_zoo.distributions.likelihoods.discrete import Levels
from vae_zoo.models import VAE

DENSE = [f for f in FAMILIES if f.is_density]
SIMPLE = [*DENSE, Point]  # energies, which need images and networks, have their own file
AMORTISED = (PlanarFlow, RadialFlow, SylvesterFlow)
FLOWS = (AutoregressiveFlow, SplineFlow, *AMORTISED)
CONTINUOUS = [f for f in DENSE if isinstance(f.support, cached_property) and f((3,)).support is constraints.real]


def params_of(family: Family, batch: tuple[int, ...] = (6,), scale: float = 1.0) -> Tensor:
    return torch.randn(*batch, *family.param_shape) * scale


def data_for(family: Family, batch: tuple[int, ...] = (6,)) -> Tensor:
    x = torch.randn(*batch, *family.shape)
    if family.support is constraints.real:
        return x
    binary = (x > 0).float()
    return binary if family.support.check(binary).all() else family.at_zeros().sample(batch)[:, 0]


SHAPES = [(3,), (1, 4, 5), (3, 2, 2)]


@pytest.mark.parametrize(
    ("cls", "shape"), [case for cls in SIMPLE for case in few([(cls, shape) for shape in SHAPES], 1)]
)
class TestEveryFamily:
    @pytest.mark.parametrize("batch", [(6,), (2, 6), (1, 1)])
    def test_shapes(self, cls: type[Family], shape: tuple[int, ...], batch: tuple[int, ...]) -> None:
        family = cls(shape)
        d = family(params_of(family, batch))
        assert d.batch_shape == batch
        assert d.event_shape == shape
        assert d.mean.shape == (*batch, *shape)
        assert d.stddev.shape == (*batch, *shape)
        assert d.sample((5,)).shape == (5, *batch, *shape)
        if cls is not Point:
            # K samples are scored against one batch of examples by broadcasting over the leading dimension.
            assert d.log_prob(data_for(family, batch[-1:])).shape == batch

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
    def test_float32_whatever_the_network_gives(
        self, cls: type[Family], shape: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        family = cls(shape).to(dtype)
        params = params_of(family).to(dtype)
        d, exact = family(params), family.float()(params.float())
        assert d.mean.dtype == d.sample().dtype == torch.float32
        if cls is not Point:
            x = data_for(family)
            assert d.log_prob(x).dtype == torch.float32
            # The parameters themselves may be rounded, which SharedNormal's σ is; nothing after that.
            torch.testing.assert_close(d.log_prob(x), exact.log_prob(x), rtol=2e-6, atol=1e-5)
            low = x.to(dtype)
            torch.testing.assert_close(d.log_prob(low), exact.log_prob(low.float()), rtol=2e-6, atol=1e-5)

    def test_float32_under_autocast(self, cls: type[Family], shape: tuple[int, ...]) -> None:
        family = cls(shape)
        linear = torch.nn.Linear(4, math.prod(family.param_shape))
        with torch.autocast("cpu", torch.bfloat16):
            params = linear(torch.randn(6, 4)).unflatten(-1, family.param_shape)
            assert params.dtype == torch.bfloat16
            d = family(params)
            assert d.mean.dtype == torch.float32
            if cls is not Point:
                x = data_for(family)
                log_prob = d.log_prob(x)
                assert log_prob.dtype == torch.float32
                exact = family.double()(params.double()).log_prob(x.double())
                torch.testing.assert_close(log_prob.double(), exact, rtol=1e-5, atol=1e-4)

    def test_float64_is_kept(self, cls: type[Family], shape: tuple[int, ...]) -> None:
        family = cls(shape).double()
        assert family(params_of(family).double()).mean.dtype == torch.float64

    def test_sample_moments(self, cls: type[Family], shape: tuple[int, ...]) -> None:
        family = cls(shape)
        if cls in AMORTISED:
            pytest.skip("their mean is a central point, of a flow that is far from affine here")
        d = family(params_of(family, (2,), 0.5))
        x = d.sample((20_000,))
        torch.testing.assert_close(x.mean(0), d.mean, rtol=0, atol=0.15)
        torch.testing.assert_close(x.std(0), d.stddev, rtol=0.05, atol=0.01)


@pytest.mark.parametrize("cls", DENSE)
def test_tiling_an_image_doubles_its_log_density(cls: type[Family]) -> None:
    """Summed over the dimensions of an event, not averaged."""
    family, wide = cls((1, 4, 5)), cls((1, 4, 10))
    if family.param_shape[-3:] != family.shape or family.support.event_dim:
        pytest.skip("its dimensions are not independent")
    params, x = params_of(family), data_for(family)
    torch.testing.assert_close(
        wide(params.repeat_interleave(2, -1)).log_prob(x.repeat_interleave(2, -1)), 2 * family(params).log_prob(x)
    )


@pytest.mark.parametrize("cls", [c for c in CONTINUOUS if c not in FLOWS])  # in their own files
def test_density_integrates_to_one(cls: type[Family]) -> None:
    family = cls((1,)).double().eval()
    d = family(params_of(family, (5,), 0.5).double())
    grid = torch.linspace(-60, 60, 400_001, dtype=torch.float64)
    density = d.log_prob(grid[:, None, None].expand(-1, 5, 1)).exp()
    mass = torch.trapezoid(density, grid, dim=0)
    mean = torch.trapezoid(density * grid[:, None], grid, dim=0)
    torch.testing.assert_close(mass, torch.ones(5, dtype=torch.float64), rtol=1e-6, atol=0)
    torch.testing.assert_close(mean, d.mean[:, 0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", CONTINUOUS)
def test_gradient_reaches_the_parameters(cls: type[Family]) -> None:
    family = cls((3,))
    params = params_of(family, scale=0.5).requires_grad_()  # more would saturate some steps of flows
    d = family(params)
    (d.log_prob(data_for(family)).sum() + d.rsample().sum()).backward()
    assert params.grad is not None
    assert (params.grad != 0).all()
    assert all(p.grad is not None for p in family.parameters())


class TestBernoulli:
    @pytest.mark.parametrize("num", [1, 3, 8])
    def test_sums_to_one_over_every_event(self, num: int) -> None:
        events = torch.tensor(list(itertools.product([0.0, 1.0], repeat=num)), dtype=torch.float64)
        d = Bernoulli((num,))(3 * torch.randn(1, num, dtype=torch.float64))
        torch.testing.assert_close(d.log_prob(events).exp().sum(), torch.ones((), dtype=torch.float64))

    @pytest.mark.parametrize("logit", [0.0, 17.0, -40.0, 200.0, -1e4])
    def test_large_logits(self, logit: float) -> None:
        d = Bernoulli((1,))(torch.tensor([[logit]]))
        for x in (0.0, 1.0):
            exact = x * logit - max(logit, 0.0) - math.log1p(math.exp(-abs(logit)))
            assert d.log_prob(torch.tensor([[x]])).item() == pytest.approx(exact, rel=1e-6, abs=6e-8)

    def test_grey_level_is_the_expectation_over_binarisations(self) -> None:
        x, params = torch.rand(1, 3), torch.randn(1, 3)
        d = Bernoulli((3,))(params)
        events = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)))
        weight = (events * x + (1 - events) * (1 - x)).prod(-1)
        torch.testing.assert_close((weight * d.log_prob(events)).sum()[None], d.log_prob(x))


class TestNormals:
    def test_diagonal(self) -> None:
        family = DiagonalNormal((3,))
        params, x = params_of(family), torch.randn(6, 3)
        assert family.param_shape == (2, 3)
        expected = torch.distributions.Normal(params[:, 0], params[:, 1].exp())
        torch.testing.assert_close(family(params).log_prob(x), expected.log_prob(x).sum(-1))
        torch.testing.assert_close(family(params).stddev, expected.stddev)

    def test_bounds_of_log_scale(self) -> None:
        params = torch.tensor([[[0.0, 0.0, 0.0], [-50.0, 0.5, 50.0]]])
        d = DiagonalNormal((3,), min_log_scale=-2, max_log_scale=3)(params)
        torch.testing.assert_close(d.stddev.log(), torch.tensor([[-2.0, 0.5, 3.0]]))

    @pytest.mark.parametrize("make", [FixedNormal, SharedNormal])
    def test_one_scale(self, make: type[Family]) -> None:
        family = make((3,), scale=0.3)
        params, x = torch.randn(6, 3), torch.randn(6, 3)
        expected = torch.distributions.Normal(params, 0.3).log_prob(x).sum(-1)
        torch.testing.assert_close(family(params).log_prob(x), expected)

    def test_only_the_shared_scale_is_learned(self) -> None:
        assert [p.shape for p in SharedNormal((3,)).parameters()] == [()]
        assert not list(FixedNormal((3,)).parameters())
        assert not FixedNormal((3,)).state_dict()

    @pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf])
    @pytest.mark.parametrize("make", [FixedNormal, SharedNormal])
    def test_bad_scale(self, make: type[Family], scale: float) -> None:
        with pytest.raises(ValueError, match="scale must be positive and finite, got"):
            make((3,), scale=scale)

    def test_a_fixed_scale_is_not_rounded_with_the_model(self) -> None:
        d = FixedNormal((3,), scale=0.1).bfloat16()(torch.zeros(1, 3))
        assert d.stddev[0, 0].item() == pytest.approx(0.1, rel=1e-6)

    def test_bad_bounds(self) -> None:
        with pytest.raises(ValueError, match="min_log_scale must be below max_log_scale, got 1 and 1"):
            DiagonalNormal((3,), min_log_scale=1, max_log_scale=1)


class TestPoint:
    def test_is_its_parameters(self) -> None:
        params = torch.randn(6, 3)
        d = Point((3,))(params)
        assert torch.equal(d.mean, params)
        assert torch.equal(d.rsample((2,)), params.expand(2, 6, 3))
        assert (d.stddev == 0).all()

    def test_has_no_density(self) -> None:
        with pytest.raises(NotImplementedError):
            Point((3,))(torch.randn(6, 3)).log_prob(torch.randn(6, 3))


class TestCheck:
    x = torch.rand(4, 1, 3, 3)

    @pytest.mark.parametrize("cls", SIMPLE)
    def test_passes_what_it_supports(self, cls: type[Family]) -> None:
        family = cls((1, 3, 3))
        family.check(data_for(family))
        if not issubclass(cls, Levels) and not family.support.event_dim and not family.support.is_discrete:
            family.check(self.x)

    @pytest.mark.parametrize("cls", SIMPLE)
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_not_finite(self, cls: type[Family], bad: float) -> None:
        x = self.x.clone()
        x[2, 0, 1, 1] = bad
        with pytest.raises(ValueError, match=f"^{cls.__name__} needs finite data, got NaN or infinity: .*") as error:
            cls((1, 3, 3)).check(x)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("change", "span"),
        [
            (lambda x: (x * 255).round().clamp(1).index_fill(0, torch.tensor(0), 255), "to 255"),
            (lambda x: (x - 0.5) / 0.5, "from -"),
        ],
        ids=["0 to 255", "normalised"],
    )
    def test_image_outside_the_unit_interval(self, change: partial, span: str) -> None:
        with pytest.raises(ValueError, match=r"Bernoulli needs data in \[0, 1\], got from .*divide") as error:
            Bernoulli((1, 3, 3)).check(change(self.x))
        assert span in str(error.value)
        assert "\n" not in str(error.value)
        FixedNormal((1, 3, 3)).check(change(self.x))


class Counts(Family):
    """A user's own likelihood, which states nothing but its distribution."""

    @property
    def param_shape(self) -> tuple[int, ...]:
        return (2, *self.shape)

    def distribution(self, params: Tensor) -> Distribution:
        total, logits = params.unbind(-1 - len(self.shape))
        return Independent(NegativeBinomial(total.exp(), logits=logits), len(self.shape))


class Dice(Family):
    """The same with bounds that are tensors."""

    def distribution(self, params: Tensor) -> Distribution:
        return Independent(Binomial(torch.full_like(params, 6.0), logits=params), len(self.shape))


class Anywhere(Family):
    """A support that depends on the parameters says nothing of the data."""

    def distribution(self, params: Tensor) -> Distribution:
        return Independent(Uniform(params, params + 1), len(self.shape))


class TestSupportOfAUsersOwn:
    def test_is_that_of_its_distribution(self) -> None:
        Counts((3,)).check(torch.tensor([[0.0, 1.0, 250.0]]))
        for bad in (0.5, -1.0):
            with pytest.raises(ValueError, match=r"^Counts needs data in whole numbers in \[0, inf\], got from "):
                Counts((3,)).check(torch.tensor([[1.0, bad, 2.0]]))
        Dice((3,)).check(torch.tensor([[0.0, 6.0, 3.0]]))
        with pytest.raises(ValueError, match=r"^Dice needs data in whole numbers in \[0, 6\], got from 0 to 7"):
            Dice((3,)).check(torch.tensor([[0.0, 7.0, 3.0]]))
        assert Anywhere((3,)).support is constraints.real

    def test_bits_are_those_of_a_code_where_it_is_discrete(self) -> None:
        assert Counts((3,)).is_discrete
        assert Dice((3,)).is_discrete
        assert Bernoulli((3,)).is_discrete
        assert not Anywhere((3,)).is_discrete
        assert not any(cls((3,)).is_discrete for cls in CONTINUOUS)
        assert all(cls((3,)).support is constraints.real for cls in CONTINUOUS)

    def test_fractions_are_refused_before_the_first_step(self, tmp_path: Path) -> None:
        model = tiny(VAE, likelihood=Counts)
        with pytest.raises(ValueError, match="Counts needs data in whole numbers"):
            quiet_trainer(tmp_path).validate(model, Batches(torch.rand(4, 1, 8, 8)), verbose=False)
