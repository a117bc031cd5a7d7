"""Likelihoods of discrete values, summed over all values."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from torch import Tensor

from vae_zoo.distributions import (
    Bernoulli,
    Categorical,
    CoupledMixtureOfLogistics,
    DiscretizedLogistic,
    MixtureOfDiscretizedLogistics,
)
from vae_zoo.distributions.likelihoods.levels import LogisticLevels

LEVELS = {
    "DiscretizedLogistic": DiscretizedLogistic,
    "shared": partial(DiscretizedLogistic, shared=True),
    "sigmoid": partial(DiscretizedLogistic, sigmoid=True),
    "mixture": partial(MixtureOfDiscretizedLogistics, num_components=3),
    "Categorical": Categorical,
}
levels = pytest.mark.parametrize("make", LEVELS.values(), ids=LEVELS)


def grid(num_values: int = 256) -> Tensor:
    return torch.arange(num_values, dtype=torch.float64)[:, None, None] / (num_values - 1)


def logistic(loc: float, log_scale: float, *, edges: bool = True, dtype: torch.dtype = torch.float64) -> Tensor:
    """Log-probabilities of the 256 levels."""
    d = LogisticLevels(torch.tensor(loc, dtype=dtype), torch.tensor(log_scale, dtype=dtype), 256, edges)
    return d.log_prob(grid().flatten().to(dtype))


@levels
class TestAll:
    @pytest.mark.parametrize("num_values", [2, 5, 256])
    def test_sums_to_one_and_moments(self, make: partial, num_values: int) -> None:
        family = make((1,), num_values=num_values).double()
        d = family(torch.randn(4, *family.param_shape).double() - 0.5)
        x = grid(num_values)
        mass = d.log_prob(x.expand(-1, 4, 1)).exp()
        torch.testing.assert_close(mass.sum(0), torch.ones(4).double(), rtol=1e-12, atol=0)
        mean = (mass * x[..., 0]).sum(0)
        torch.testing.assert_close(d.mean[:, 0], mean, rtol=1e-10, atol=1e-12)
        variance = (mass * (x[..., 0] - mean).square()).sum(0)
        torch.testing.assert_close(d.variance[:, 0], variance, rtol=1e-8, atol=1e-12)

    def test_samples_lie_on_the_levels_as_often_as_they_should(self, make: partial) -> None:
        family = make((2,), num_values=5)
        d = family(torch.randn(1, *family.param_shape))
        x = d.sample((20_000,))
        family.check(x)
        for level in range(5):
            seen = (x == level / 4).float().mean(0)[0]
            mass = d.base_dist.log_prob(torch.full((1, 2), level / 4)).exp()[0]
            assert ((seen - mass).abs() <= 4.5 * (mass * (1 - mass) / 20_000).sqrt() + 1e-4).all()

    def test_any_precision(self, make: partial) -> None:
        """Half precision rounds a level by less than half a step."""
        family = make((4, 64))
        params, x = torch.randn(1, *family.param_shape), (torch.arange(256.0) / 255).reshape(1, 4, 64)
        log_prob = family(params).log_prob(x)
        assert torch.equal(family(params).log_prob(x.bfloat16()), log_prob)
        exact = family.double()(params.double()).log_prob(x.double())
        torch.testing.assert_close(log_prob.double(), exact, rtol=1e-5, atol=0)

    def test_extreme_parameters(self, make: partial) -> None:
        family = make((3,))
        for size in (1e4, -1e4):
            params = torch.full((1, *family.param_shape), size).requires_grad_()
            log_prob = family(params).log_prob(torch.tensor([[0.0, 0.2, 1.0]]))
            (grad,) = torch.autograd.grad(log_prob.sum(), params)
            assert log_prob.isfinite().all()
            assert grad.isfinite().all()

    @pytest.mark.parametrize(
        ("x", "message"),
        [
            ([0.0, 0.5, 1.0], "needs data in multiples of 1/255, got 0.5: divide integers from 0 to 255 by 255"),
            ([0.0, 0.1, 1.0], "needs data in multiples of 1/255, got 0.1: "),
            ([0.0, 128.0, 255.0], "needs data in [0, 1], got from 0 to 255: divide"),
        ],
    )
    def test_refuses_what_is_off_the_grid(self, make: partial, x: list[float], message: str) -> None:
        with pytest.raises(ValueError, match="needs data in") as error:
            make((3,)).check(torch.tensor([x]))
        assert message in str(error.value)
        assert "\n" not in str(error.value)

    def test_takes_what_is_on_the_grid(self, make: partial) -> None:
        x = torch.arange(256, dtype=torch.uint8).float()[None] / 255
        for data in (x, x.double(), x.bfloat16()):
            make((256,)).check(data)

    @pytest.mark.parametrize("bad", [1, 0, -3])
    def test_bad_values(self, make: partial, bad: int) -> None:
        with pytest.raises(ValueError, match=f"^num_values must be at least 2, got {bad}.$"):
            make((3,), num_values=bad)


class TestDiscretizedLogistic:
    @pytest.mark.parametrize("log_scale", [-30.0, -12.0, -7.0, -3.0, 0.0, 7.0])
    def test_telescopes_at_any_scale(self, log_scale: float) -> None:
        for loc in (-0.5, 0.0, 0.31, 1.2):
            assert logistic(loc, log_scale).exp().sum().item() == pytest.approx(1, abs=1e-12)

    @pytest.mark.parametrize("log_scale", [-7.0, -4.0, -1.0, 3.0])
    def test_float32_where_the_mass_underflows(self, log_scale: float) -> None:
        exact, low = logistic(0.2, log_scale), logistic(0.2, log_scale, dtype=torch.float32)
        assert low.isfinite().all()
        torch.testing.assert_close(low.double(), exact, rtol=2e-6, atol=2e-6)
        assert log_scale > -7 or exact.min() < -500  # far below the smallest float

    def test_agrees_with_the_difference_of_the_distribution_function(self) -> None:
        x, scale = grid().flatten()[1:-1], math.exp(-1.5)
        half = 0.5 / 255
        expected = torch.sigmoid((x + half - 0.4) / scale) - torch.sigmoid((x - half - 0.4) / scale)
        torch.testing.assert_close(logistic(0.4, -1.5)[1:-1].exp(), expected, rtol=1e-10, atol=0)

    def test_without_edges_it_is_the_density_of_the_vampprior_code(self) -> None:
        """Levels at k / 256 with bins of 1/256 above them, there written on another axis."""
        k, loc, scale = torch.arange(256, dtype=torch.float64), 0.4, math.exp(-1.5)
        low, high = (k / 256 - loc) / scale, ((k + 1) / 256 - loc) / scale
        theirs = torch.log(torch.sigmoid(high) - torch.sigmoid(low))
        ours = logistic((256 * loc - 0.5) / 255, -1.5 + math.log(256 / 255), edges=False)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=0)
        assert ours.exp().sum() < 0.95
        assert (logistic(0.4, -1.5) >= logistic(0.4, -1.5, edges=False)).all()

    def test_a_narrow_scale_tells_the_level(self) -> None:
        x = torch.rand(2, 6).mul(255).round() / 255
        d = DiscretizedLogistic((6,), min_log_scale=-12)(torch.stack([x, torch.full_like(x, -20)], 1))
        torch.testing.assert_close(d.log_prob(x), torch.zeros(2), rtol=0, atol=1e-5)
        torch.testing.assert_close(d.mean, x)

    def test_shared_scale_is_one_parameter(self) -> None:
        family = DiscretizedLogistic((3, 2), shared=True, scale=0.05)
        assert family.param_shape == (3, 2)
        (log_scale,) = family.parameters()
        assert log_scale.exp().item() == pytest.approx(0.05)

    def test_bad_values(self) -> None:
        with pytest.raises(ValueError, match="min_log_scale must be below max_log_scale, got 1 and 0"):
            DiscretizedLogistic((3,), min_log_scale=1, max_log_scale=0)
        with pytest.raises(ValueError, match=r"scale must be positive and finite, got 0\.0"):
            DiscretizedLogistic((3,), scale=0.0)


def test_a_mixture_of_one_is_its_component() -> None:
    params, x = torch.randn(5, 3, 1, 2, 4), torch.rand(5, 2, 4).mul(255).round() / 255
    mixture = MixtureOfDiscretizedLogistics((2, 4), num_components=1)(params)
    one = DiscretizedLogistic((2, 4))(params[:, 1:, 0])
    torch.testing.assert_close(mixture.log_prob(x), one.log_prob(x))
    with pytest.raises(ValueError, match="num_components must be at least 1, got 0"):
        MixtureOfDiscretizedLogistics((2, 4), num_components=0)


def test_categorical() -> None:
    params, x = torch.randn(5, 7, 2, 3), torch.randint(7, (5, 2, 3))
    expected = -torch.nn.functional.cross_entropy(params, x, reduction="none").sum((1, 2))
    torch.testing.assert_close(Categorical((2, 3), num_values=7)(params).log_prob(x / 6), expected)


def test_two_categories_are_the_bernoulli() -> None:
    logits, x = torch.randn(5, 6), torch.randint(2, (5, 6)).float()
    two = Categorical((6,), num_values=2)(torch.stack([torch.zeros(5, 6), logits], 1))
    torch.testing.assert_close(two.log_prob(x), Bernoulli((6,))(logits).log_prob(x))


class TestCoupledChannels:
    """The form of PixelCNN++, by enumeration."""

    def test_one_channel_is_the_mixture(self) -> None:
        coupled, plain = (
            CoupledMixtureOfLogistics((1, 2, 3), num_components=4),
            MixtureOfDiscretizedLogistics((1, 2, 3), num_components=4),
        )
        params = torch.randn(5, *coupled.param_shape)
        x = torch.randint(0, 256, (5, 1, 2, 3)) / 255
        other = plain(params.unflatten(1, (3, 4, 1)))
        torch.testing.assert_close(coupled(params).log_prob(x), other.log_prob(x))
        torch.testing.assert_close(coupled(params).mean, other.mean)
        torch.testing.assert_close(coupled(params).stddev, other.stddev)

    @pytest.mark.parametrize("shape", [(3,), (3, 1, 1), (2, 1)])
    def test_sums_to_one_over_all_colours(self, shape: tuple[int, ...]) -> None:
        torch.manual_seed(0)
        family = CoupledMixtureOfLogistics(shape, num_components=2, num_values=5).double()
        d = family(2 * torch.randn(4, *family.param_shape).double() - 0.5)
        level = torch.arange(5.0).double() / 4
        x = torch.cartesian_prod(*[level] * shape[0]).reshape(-1, 1, *shape)
        mass = d.log_prob(x).exp()
        torch.testing.assert_close(mass.sum(0), torch.ones(4).double(), rtol=1e-12, atol=0)
        drawn = d.sample((20_000,))
        family.check(drawn)
        same = (drawn.reshape(20_000, 4, -1)[:, None] == x.reshape(1, -1, 1, shape[0])).all(-1).double().mean(0)
        assert ((same - mass).abs() <= 5 * (mass * (1 - mass) / 20_000).sqrt() + 2e-4).all()

    def test_against_an_explicit_sum(self) -> None:
        torch.manual_seed(0)
        family = CoupledMixtureOfLogistics((3, 1, 2), num_components=2).double()
        params = torch.randn(1, *family.param_shape).double()
        x = torch.randint(0, 256, (3, 1, 2)).double() / 255
        total = 0.0
        for side in range(2):
            logits, loc, log_scale, a = params[0, :, 0, side].split([2, 6, 6, 6])
            loc, log_scale, a = loc.reshape(2, 3), log_scale.reshape(2, 3), a.reshape(2, 3).tanh()
            r, g, b = x[:, 0, side]
            each = []
            for k in range(2):
                shift = (0.0, a[k, 0] * (r - 0.5), a[k, 1] * (r - 0.5) + a[k, 2] * (g - 0.5))
                parts = [
                    LogisticLevels(loc[k, c] + shift[c], log_scale[k, c], 256, True).log_prob(value)
                    for c, value in enumerate((r, g, b))
                ]
                each.append(torch.log_softmax(logits, 0)[k] + sum(parts))
            total = total + torch.stack(each).logsumexp(0)
        torch.testing.assert_close(family(params).log_prob(x)[0], total)

    def test_colours_of_a_component_go_together(self) -> None:
        """A grey pixel of unknown brightness: the later channels follow the first."""
        family = CoupledMixtureOfLogistics((3,), num_components=1)
        params = torch.tensor([0.0, *[0.5] * 3, -1.5, -5.0, -5.0, 20.0, 20.0, 0.0])
        x = family(params[None]).sample((500,))[:, 0]
        assert x[:, 0].std() > 0.1
        assert (x[:, 1:] - x[:, :1]).abs().mean() < 0.03

    def test_bad_values(self) -> None:
        with pytest.raises(ValueError, match="num_components must be at least 1, got 0"):
            CoupledMixtureOfLogistics((3, 2, 2), num_components=0)
