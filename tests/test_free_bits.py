"""Free bits: how every objective treats a divergence below the floor."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from helpers import BOUNDS, build, losses, tiny
from torch import Tensor, nn

from vae_zoo.distributions import Joint, JointPrior, Mixture, StandardNormal
from vae_zoo.models import (
    IWAE,
    VAE,
    AutoencoderKL,
    BetaVAE,
    CategoricalVAE,
    ConditionalVAE,
    FlowVAE,
    LadderVAE,
    SequenceVAE,
    TwoLevelVAE,
    VampVAE,
)
from vae_zoo.testing.losses import ONE_GRAPH

FLOOR = 0.5


def takes_a_floor(cls: type[VAE]) -> bool:
    """Whether free bits mean anything to a model: some have another schedule or another divergence, and refuse them."""
    try:
        return bool(tiny(cls, free_bits=0.1))
    except (TypeError, ValueError):
        return False


every_bound = pytest.mark.parametrize("cls", [cls for cls in BOUNDS if takes_a_floor(cls)])
in_closed_form = pytest.mark.parametrize("cls", [VAE, BetaVAE])


class TwoSides(nn.Module):
    """An encoder whose first two latents are far from the prior, and whose last two are close to it."""

    def __init__(self, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.tensor([2.0, 1.5, 0.1, 0.2]))
        self.log_scale = nn.Parameter(torch.tensor([-1.0, -0.5, -0.1, -0.2]))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.loc, self.log_scale]).expand(len(x), -1, -1)


def blind(cls: type[VAE], **kwargs: object) -> VAE:
    """A model whose decoder ignores the latent: its encoder learns from the rate alone."""
    torch.manual_seed(0)
    model = tiny(cls, encoder=TwoSides, **kwargs)
    with torch.no_grad():
        model.decoder.layers[1].weight.zero_()
    return model


def slopes(model: VAE, x: Tensor, **kwargs: int) -> Tensor:
    loss = losses(model, x, **kwargs)["loss"]
    return torch.stack(torch.autograd.grad(loss, [model.encoder.loc, model.encoder.log_scale]))


@pytest.mark.parametrize("annealed", [None, 0.5])
@in_closed_form
def test_no_gradient_below_the_floor_and_the_same_above(cls: type[VAE], annealed: float | None, images: Tensor) -> None:
    plain, free = blind(cls), blind(cls, free_bits=FLOOR)
    plain.kl_weight = free.kl_weight = None if annealed is None else torch.tensor(annealed)
    before, after = slopes(plain, images), slopes(free, images)
    assert (before != 0).all()
    torch.testing.assert_close(after[:, 2:], torch.zeros(2, 2))
    torch.testing.assert_close(after[:, :2], before[:, :2])


def test_on_log_weights(images: Tensor) -> None:
    """The rate of one sample of IWAE is noise around the divergence: its mean gradient is stopped, dimension-wise."""
    plain = blind(IWAE, num_samples=1)
    free = blind(IWAE, num_samples=1, free_bits=FLOOR)
    x = images[:1].expand(4000, -1, -1, -1)
    after = torch.stack([slopes(free, x, seed=seed) for seed in range(20)])
    error = after.std(0) / math.sqrt(20)
    assert (after.mean(0)[:, 2:].abs() < 4.5 * error[:, 2:]).all()
    before = torch.stack([slopes(plain, x, seed=seed) for seed in range(20)])
    torch.testing.assert_close(after[..., :2], before[..., :2])
    assert (before.mean(0)[:, 2:].abs() > 5 * error[:, 2:]).all()


def test_penalty_by_hand(images: Tensor) -> None:
    model = blind(VAE, free_bits=FLOOR)
    values = losses(model, images)
    q = model.encode(images).base_dist
    rates = torch.distributions.kl_divergence(
        torch.distributions.Normal(q.loc, q.scale), torch.distributions.Normal(0.0, 1.0)
    ).mean(0)
    assert ((rates > FLOOR) == torch.tensor([True, True, False, False])).all()
    torch.testing.assert_close(values["kl"], rates.sum())
    torch.testing.assert_close(values["loss"] + values["reconstruction"], rates.clamp(min=FLOOR).sum())


@pytest.mark.parametrize("cls", [VAE, BetaVAE, ConditionalVAE, FlowVAE, LadderVAE, VampVAE])
def test_nothing_below_the_floor_has_a_gradient(cls: type[VAE], images: Tensor) -> None:
    """Whether the divergence is known of each dimension, of samples of the layer above, or of samples alone."""
    torch.manual_seed(0)
    model = tiny(cls, free_bits=50.0, num_samples=2)
    values = losses(model, images)
    slopes = torch.autograd.grad(values["loss"] + values["reconstruction"], list(model.parameters()), allow_unused=True)
    norm = sum(slope.square().sum() for slope in slopes if slope is not None).sqrt()
    assert norm < 1e-4
    (slope,) = torch.autograd.grad(losses(model, images)["kl"], [next(model.encoder.parameters())])
    assert slope.norm() > 1e-3


def test_each_dimension_of_each_layer_has_a_floor(images: Tensor) -> None:
    torch.manual_seed(0)
    model = tiny(LadderVAE, latent_dims=[3, 2])
    for p in model.parameters():
        p.data.mul_(2)
    torch.manual_seed(1)
    terms = model.elbo(images, num_samples=3)
    torch.testing.assert_close(terms.rates.sum(1), terms.kl)
    layers = zip(terms.q.layers(terms.z), terms.p.layers(terms.z), strict=True)
    by_hand = [
        torch.distributions.kl_divergence(
            *(torch.distributions.Normal(d.base_dist.loc, d.base_dist.scale) for d in pair)
        )
        for pair in layers
    ]
    rates = torch.cat([rate.reshape(-1, len(images), rate.shape[-1]).mean((0, 1)) for rate in by_hand])
    floor = rates.median().item()
    assert len(rates) == 5
    torch.testing.assert_close(terms.floored(floor).kl.mean(), rates.clamp(min=floor).sum())


@pytest.mark.parametrize("floor", [0.02, 0.3])
def test_a_categorical_variable_is_one_dimension(floor: float, images: Tensor) -> None:
    """One of ten categories holds at most log 10 nats: a floor for each entry would leave no rate at all."""
    discrete = build(CategoricalVAE, latent_dim=3, num_categories=10, free_bits=floor)
    sizes = {"num_variables": 2, "num_categories": 5}
    mixed = build(
        VAE, latent_dim=13, posterior=partial(Joint, **sizes), prior=partial(JointPrior, **sizes), free_bits=floor
    )
    for model, num in ((discrete, 3), (mixed, 3 + 2)):
        for p in model.encoder.parameters():
            p.data.mul_(5)  # some rates above the floor
        terms = model.elbo(images, num_samples=2)
        rates = terms.rates.mean(0)
        assert len(rates) == num
        torch.testing.assert_close(terms.floored(floor).kl.mean(), rates.clamp(min=floor).sum())


def test_one_floor_where_a_layer_has_no_rate_of_each_dimension(images: Tensor) -> None:
    model = tiny(TwoLevelVAE, latent_dims=[3, 2])
    terms = model.elbo(images, num_samples=2)
    torch.testing.assert_close(terms.rates, terms.kl[:, None])
    torch.testing.assert_close(terms.curves["kl_1"] + terms.curves["kl_2"], terms.kl)
    torch.testing.assert_close(terms.floored(50.0).kl.mean(), torch.tensor(50.0 * 5))
    known = tiny(TwoLevelVAE, latent_dims=[3, 2], prior=StandardNormal).elbo(images)
    assert known.rates.shape == (len(images), 5)  # type: ignore[union-attr]


def test_the_divergence_is_computed_once(images: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, plain = [], Mixture.log_prob
    monkeypatch.setattr(Mixture, "log_prob", lambda self, value: calls.append(1) or plain(self, value))
    losses(tiny(VampVAE, free_bits=FLOOR), images)
    assert len(calls) == 1


@every_bound
def test_curves_stay_what_they_are(cls: type[VAE], images: Tensor) -> None:
    torch.manual_seed(0)
    heavy = {"beta": 1.0} if cls is AutoencoderKL else {}  # by default its rate weighs next to nothing
    plain, free = build(cls, free_bits=0.0, **heavy), build(cls, free_bits=20.0, **heavy)
    free.load_state_dict(plain.state_dict())
    if cls is SequenceVAE:
        for model in (plain, free):
            model.warmup.set(10_000)  # at the first step, the rate has no weight
    a, b = losses(plain, images), losses(free, images)
    assert all(torch.equal(a[name], b[name]) for name in a if name not in ("loss", "autoencoder_loss"))
    assert b["loss"] > a["loss"] + 10


def test_one_floor_where_the_divergence_is_no_sum(images: Tensor) -> None:
    for floor in (0.01, 50.0):
        torch.manual_seed(0)
        values = losses(tiny(VampVAE, free_bits=floor), images)
        rate = max(4 * floor, values["kl"].item())
        assert (values["loss"] + values["reconstruction"]).item() == pytest.approx(rate, rel=1e-4)


@pytest.mark.exhaustive
def test_compiles_into_one_graph(images: Tensor) -> None:
    model = build(IWAE, free_bits=FLOOR)
    whole = torch.compile(IWAE.losses, fullgraph=ONE_GRAPH, backend="eager")
    torch.manual_seed(1)
    torch.testing.assert_close(whole(model, images)["loss"], losses(model, images)["loss"])


@every_bound
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_bad_values(cls: type[VAE], value: float) -> None:
    make = partial(build, cls, free_bits=value)
    with pytest.raises(ValueError, match=rf"^free_bits must be at least 0 and finite, got {value}\.$"):
        make()
