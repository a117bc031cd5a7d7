from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import losses, small, tiny
from torch import Tensor

from vae_zoo.distributions import FixedNormal, Normal
from vae_zoo.distributions.normal import independent
from vae_zoo.models import IWAE, VAE, IWAEDReG
from vae_zoo.nn import Dense

linear = partial(Dense, hidden=[])
ENCODER = ("encoder.layers.1.weight", "encoder.layers.1.bias")
DECODER = ("decoder.layers.1.weight", "decoder.layers.1.bias")


def models(num_samples: int) -> tuple[VAE, VAE]:
    """The two estimators over the same linear-Gaussian model, its posterior a little off the exact one."""
    pair = []
    for cls in (IWAE, IWAEDReG):
        torch.manual_seed(0)
        networks = {"encoder": linear, "decoder": linear, "likelihood": partial(FixedNormal, scale=0.7)}
        pair.append(cls(shape=(3,), latent_dim=2, num_samples=num_samples, **networks).double())
    return pair[0], pair[1]


def gradients(model: VAE, x: Tensor, names: tuple[str, ...], num: int) -> Tensor:
    """Independent estimates of the gradient of the loss, (num, parameters)."""
    parameters = [model.get_parameter(name) for name in names]
    rows = [torch.autograd.grad(losses(model, x, seed)["loss"], parameters) for seed in range(num)]
    return torch.stack([torch.cat([g.flatten() for g in row]) for row in rows])


@pytest.mark.exhaustive
def test_same_mean_and_less_variance_for_the_encoder() -> None:
    plain, doubly = models(4)
    x = torch.tensor([[1.0, -0.5, 0.3]], dtype=torch.float64).expand(200, -1)
    a, b = gradients(plain, x, ENCODER, 100), gradients(doubly, x, ENCODER, 100)
    error = (a.var(0) / 100 + b.var(0) / 100).sqrt()
    assert ((a.mean(0) - b.mean(0)).abs() < 4 * error).all()
    assert (a.mean(0).abs() > 10 * error).any()  # there is a gradient to agree on
    assert b.var(0).sum() < 0.7 * a.var(0).sum()


def test_decoder_learns_as_in_iwae() -> None:
    plain, doubly = models(4)
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(gradients(doubly, x, DECODER, 3), gradients(plain, x, DECODER, 3))


@pytest.mark.parametrize("weight", [None, 0.3])
def test_one_sample_sticks_the_landing(weight: float | None) -> None:
    _, model = models(1)
    model.kl_weight = weight if weight is None else torch.tensor(weight)
    x = torch.randn(5, 3, dtype=torch.float64)
    losses(model, x)["loss"].backward()
    torch.manual_seed(1)
    q = model.encode(x)
    z = q.rsample((1,))
    stopped = independent(Normal(q.base_dist.loc.detach(), q.base_dist.log_scale.detach()), 1)
    rate = stopped.log_prob(z) - model.prior().log_prob(z)
    loss = ((weight or 1.0) * rate - model.decode(z).log_prob(x)).mean()
    for p, expected in zip(model.parameters(), torch.autograd.grad(loss, list(model.parameters())), strict=True):
        torch.testing.assert_close(p.grad, expected)


def test_gradient_of_two_samples_by_hand() -> None:
    """The squared shares, written out with the gradient of each weight by its latent."""
    _, model = models(2)
    x = torch.randn(1, 3, dtype=torch.float64)
    losses(model, x)["loss"].backward()
    torch.manual_seed(1)
    q = model.encode(x)
    z = q.rsample((2,))
    stopped = independent(Normal(q.base_dist.loc.detach(), q.base_dist.log_scale.detach()), 1)
    cut = z.detach().requires_grad_()
    log_w = (model.decode(cut).log_prob(x) + model.prior().log_prob(cut) - stopped.log_prob(cut)).squeeze(1)
    share = log_w.softmax(0).detach()
    slopes = torch.stack([torch.autograd.grad(log_w[k], cut, retain_graph=True)[0][k] for k in range(2)])
    surrogate = -sum((share[k] ** 2 * slopes[k] * z[k]).sum() for k in range(2))
    for name in ENCODER:
        p = model.get_parameter(name)
        torch.testing.assert_close(p.grad, torch.autograd.grad(surrogate, p, retain_graph=True)[0])


def test_the_loss_is_the_bound(images: Tensor) -> None:
    torch.manual_seed(0)
    model = tiny(IWAEDReG)
    other = tiny(IWAE)
    other.load_state_dict(model.state_dict())
    for weight in (None, torch.tensor(0.5)):
        model.kl_weight = other.kl_weight = weight
        values, expected = losses(model, images), losses(other, images)
        assert values.keys() == expected.keys()
        for name in values:
            torch.testing.assert_close(values[name], expected[name], rtol=0, atol=0)
    model.kl_weight = None
    values = losses(model, images)
    assert torch.equal(values["loss"], -values["bound"])
    with torch.no_grad():
        assert torch.equal(losses(model, images)["loss"], values["loss"])


@pytest.mark.exhaustive
@pytest.mark.slow
def test_compiled_gradients() -> None:
    """The noise is drawn outside, because a compiled one is another stream."""

    class Quiet(IWAEDReG):
        def encode(self, x: Tensor, c: Tensor | None = None) -> torch.distributions.Distribution:
            q = super().encode(x, c)
            q.rsample = lambda shape: q.mean + q.stddev * self.noise
            return q

    if not Quiet.compilable:
        pytest.skip("this torch does not compile it")
    torch.manual_seed(0)
    model = Quiet(shape=(3,), latent_dim=2, num_samples=4, encoder=small, decoder=small)
    model.noise = torch.randn(4, 5, 2)
    x = torch.rand(5, 3)
    expected = torch.autograd.grad(model.losses(x)["loss"], list(model.parameters()))
    loss = torch.compile(Quiet.losses, fullgraph=True, backend="aot_eager")(model, x)["loss"]
    for got, want in zip(torch.autograd.grad(loss, list(model.parameters())), expected, strict=True):
        torch.testing.assert_close(got, want)
