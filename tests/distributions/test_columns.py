"""The likelihood of rows of several kinds, against torch's distributions and sums over all values."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import Any

import pytest
import torch
from helpers import small
from scipy.stats import nbinom
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, NegativeBinomial, Normal
from torch.utils._python_dispatch import TorchDispatchMode

from vae_zoo.distributions import Columns
from vae_zoo.distributions.likelihoods.scaled import unscaled
from vae_zoo.models import VAE

NAN = float("nan")
COLUMNS: list[dict[str, Any]] = [
    {"name": "city", "type": "category", "categories": ["a", "b", "c"]},
    {"name": "age", "type": "number"},
    {"name": "smokes", "type": "boolean", "values": ["no", "yes"]},
    {"name": "visits", "type": "count"},
    {"name": "plan", "type": "category", "categories": ["x", "y"]},
    {"name": "income", "type": "number"},
]
SCALING = {"shift": [0, 40.0, 0, 0, 0, 10.0], "scale": [1, 10.0, 1, 1, 1, 0.5], "log": [5.0]}


def family(**kwargs: Any) -> Columns:
    torch.manual_seed(0)
    made = Columns((6,), columns=COLUMNS, **kwargs)
    with torch.no_grad():
        made.slow_scale.copy_(torch.tensor([0.03, -0.04]))  # type: ignore[union-attr]
        made.slow_dispersion.fill_(0.07)  # type: ignore[union-attr]
    return made


def rows() -> Tensor:
    return torch.tensor([[2.0, 0.4, 1.0, 3.0, 0.0, -1.2], [0.0, -1.0, 0.0, 0.0, 1.0, 0.7]])


def expected(params: Tensor, x: Tensor) -> Tensor:
    """Log-densities of the columns, (…, 6), by torch's own distributions."""
    number, boolean, count, city, plan = params.split([2, 1, 1, 3, 2], -1)
    total = torch.tensor(0.7).exp()
    return torch.stack(
        [
            Categorical(logits=city).log_prob(x[..., 0]),
            Normal(number[..., 0], torch.tensor(0.3).exp()).log_prob(x[..., 1]),
            Bernoulli(logits=boolean[..., 0]).log_prob(x[..., 2]),
            NegativeBinomial(total, logits=count[..., 0] - 0.7).log_prob(x[..., 3]),
            Categorical(logits=plan).log_prob(x[..., 4]),
            Normal(number[..., 1], torch.tensor(-0.4).exp()).log_prob(x[..., 5]),
        ],
        -1,
    )


def test_the_density_is_the_product_of_the_columns_own() -> None:
    params = torch.randn(4, 2, 9)
    found = family()(params).log_prob(rows())
    torch.testing.assert_close(found, expected(params, rows()).sum(-1))


def test_the_probabilities_of_discrete_columns_add_up_to_one() -> None:
    discrete = [column for column in COLUMNS if column["type"] != "number"]
    likelihood = Columns((4,), columns=discrete)
    px = likelihood(torch.randn(1, 7))
    values = itertools.product(range(3), range(2), range(300), range(2))
    x = torch.tensor(list(values), dtype=torch.float32)
    torch.testing.assert_close(px.log_prob(x).logsumexp(0).exp(), torch.tensor(1.0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("log_dispersion", [-3.0, 5.0, 11.0, 100.0])
@pytest.mark.parametrize("mean", [20.0, 1e4, 1e6, 1e8])
def test_large_counts_have_a_density_in_single_precision(mean: float, log_dispersion: float) -> None:
    """Terms of the size of x log x cancel; a dispersion that grows without end is that of a Poisson variable."""
    likelihood = Columns((1,), columns=[{"type": "count"}])
    likelihood.slow_dispersion.data.fill_(log_dispersion / 10)  # type: ignore[union-attr]
    theta, x = math.exp(min(log_dispersion, 12.0)), round(1.01 * mean)
    found = likelihood(torch.tensor([[math.log(mean)]])).log_prob(torch.tensor([[float(x)]]))
    assert found.item() == pytest.approx(nbinom.logpmf(x, theta, theta / (theta + mean)), rel=2e-3, abs=2e-3)
    (slope,) = torch.autograd.grad(found, [likelihood.slow_dispersion])  # type: ignore[list-item]
    assert slope.isfinite()


def test_missing_cells_have_no_term() -> None:
    likelihood, params = family(), torch.randn(2, 9)
    likelihood.observe()
    x = rows()
    terms = expected(params, x)
    x[0, 0], x[0, 3], x[1, 1], x[1, 5] = NAN, NAN, NAN, NAN
    torch.testing.assert_close(likelihood(params).log_prob(x), torch.where(x.isnan(), 0.0, terms).sum(1))
    likelihood.check(x)


def test_numbers_are_scored_in_their_original_units() -> None:
    likelihood, params = family(), torch.randn(2, 9)
    likelihood.rescale(SCALING)
    y = rows()
    x = likelihood.unscaled(y)
    slope = torch.tensor(1 / 10.0).log() - torch.tensor(0.5).log() - x[:, 5].log()
    wanted = expected(params, y)
    torch.testing.assert_close(likelihood(params).log_prob(x), wanted.sum(1) + slope, rtol=1e-4, atol=1e-4)
    likelihood.check(x)
    wanted[:, 1] -= torch.tensor(10.0).log()
    wanted[:, 5] -= torch.tensor(0.5).log() + x[:, 5].log()
    torch.testing.assert_close(likelihood(params).log_prob_per_entry(x), wanted, rtol=1e-4, atol=1e-4)
    likelihood.observe()
    x[0, 1], x[1, 5] = NAN, NAN
    wanted = torch.where(x.isnan(), 0.0, wanted).sum(1)
    torch.testing.assert_close(likelihood(params).log_prob(x), wanted, rtol=1e-4, atol=1e-4)


def test_draws_have_the_moments_and_shares_of_the_columns() -> None:
    likelihood = family()
    px = likelihood(torch.randn(1, 9))
    x = px.sample((40000,))[:, 0]
    likelihood.check(x)
    others = [1, 2, 3, 5]
    torch.testing.assert_close(x[:, others].mean(0), px.mean[0, others], atol=0.06, rtol=0.03)
    torch.testing.assert_close(x.var(0), px.variance[0], atol=0.06, rtol=0.06)
    shares = px.base_dist.shares.exp()[0]
    for place, level in itertools.product((0, 4), range(3)):
        found = (x[:, place] == level).float().mean()
        torch.testing.assert_close(found, shares[[0, 4].index(place), level], atol=0.01, rtol=0)
    assert px.mean[0, 0] == shares[0].argmax()


def test_an_encoder_sees_one_hot_categories_and_which_cells_are_missing() -> None:
    likelihood = family()
    x = rows()
    assert likelihood.read_shape == (9,)
    torch.testing.assert_close(likelihood.read(x)[0], torch.tensor([0.4, -1.2, 1, 1.3862944, 0, 0, 1, 1, 0]))
    likelihood.observe()
    assert likelihood.read_shape == (15,)
    x[0, 0], x[0, 1] = NAN, NAN
    wanted = torch.tensor([0, -1.2, 1, 1.3862944, 0, 0, 0, 1, 0, -1, -1, 0, 0, 0, 0.0])
    torch.testing.assert_close(likelihood.read(x)[0], wanted)


@pytest.mark.parametrize(("place", "value", "name"), [(0, 3.0, "city"), (2, 0.5, "smokes"), (3, -1.0, "visits")])
def test_values_of_another_kind_are_refused_with_their_column(place: int, value: float, name: str) -> None:
    x = rows()
    x[1, place] = value
    with pytest.raises(ValueError, match=f"column {name} holds values that are no "):
        family().check(x)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ([{"type": "text"}], "the type of column 0 must be one of number, date, boolean, count, category"),
        ([{"name": "a", "type": "category"}], "column a is a category without categories"),
        ([{"type": "number"}] * 2, "rows of 2 values, as many as columns, got"),
    ],
)
def test_unsuitable_columns_are_refused(columns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Columns((1,), columns=columns)


def test_an_imputed_category_is_the_most_probable_over_all_latents() -> None:
    """Averages of probabilities, not of codes: codes 0 and 2 never make a 1."""
    torch.manual_seed(0)
    model = VAE(
        shape=(6,),
        latent_dim=2,
        likelihood=table_likelihood(),
        missing=True,
        scaling=SCALING,
        encoder=small,
        decoder=small,
    ).eval()
    x = model.likelihood.unscaled(rows())
    x[:, 0] = NAN
    x[:, 2] = NAN
    torch.manual_seed(1)
    filled = model.impute(x, num_samples=400)
    torch.manual_seed(1)
    terms = model.elbo(x, num_samples=400)
    base = unscaled(terms.px).base_dist
    weights = terms.log_w.softmax(0)[..., None]
    shares = (weights * base.shares[:, :, 0].exp()).sum(0)
    assert torch.equal(filled[:, 0], shares.argmax(1).float())
    chance = (weights * base.logits.sigmoid()).sum(0)[:, 0]
    assert torch.equal(filled[:, 2], chance.round())
    torch.testing.assert_close(filled[:, 1], x[:, 1])


def table_likelihood() -> Any:
    return partial(Columns, columns=COLUMNS)


class Indices(TorchDispatchMode):
    """Remembers the indices that are used."""

    def __init__(self) -> None:
        super().__init__()
        self.used: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("index", "index_put", "index_put_"):
            self.used += [index for index in args[1] if index is not None]
        elif name in ("index_select", "index_copy"):
            self.used.append(args[2])
        return func(*args, **(kwargs or {}))


def test_indices_are_buffers_and_not_made_at_each_step() -> None:
    """On a GPU, each list of places would be a copy from the host, for which the device waits."""
    likelihood = family()
    likelihood.observe()
    known = {buffer.data_ptr() for buffer in likelihood.buffers()}
    assert not [name for name in likelihood.state_dict() if "layout" in name], "checkpoints stay as they are"
    params = torch.randn(2, 9)
    with Indices() as indices:
        likelihood.read(rows())
        likelihood(params).log_prob(rows())
        likelihood(params).sample()
    assert len(indices.used) > 10
    assert {index.data_ptr() for index in indices.used} <= known


@pytest.mark.exhaustive
def test_losses_compile_in_one_graph() -> None:
    torch._dynamo.reset()
    settings = {"shape": (6,), "latent_dim": 2, "encoder": small, "decoder": small}
    model = VAE(likelihood=table_likelihood(), missing=True, scaling=SCALING, **settings)
    x = model.likelihood.unscaled(rows())
    x[0, 0] = NAN
    torch.manual_seed(0)
    wanted = model.losses(x)["loss"]
    torch.manual_seed(0)
    found = torch.compile(type(model).losses, fullgraph=True, backend="eager")(model, x)["loss"]
    torch.testing.assert_close(found, wanted)
    wanted.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
