from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Batches, build, fit, quiet_trainer, tiny, tiny_data
from torch import Tensor
from torch.distributions import Distribution, MultivariateNormal

from vae_zoo.data import Digits
from vae_zoo.distributions import ConditionalNormal, DiagonalNormal, FixedNormal, OptimalNormal
from vae_zoo.evaluation import ais
from vae_zoo.models import IWAE, M2, BetaVAE, ConditionalVAE
from vae_zoo.nn import Dense
from vae_zoo.penalties import Penalty

linear = partial(Dense, hidden=[])
small_spread = partial(DiagonalNormal, min_log_scale=-16.0, max_log_scale=-15.0)
"""A posterior whose samples are its mean, so that two models draw the same."""

LINEAR = {"encoder": linear, "decoder": linear, "likelihood": partial(FixedNormal, scale=0.5)}


class Size(Penalty):
    def forward(self, z: Tensor, q: Distribution, p: Distribution) -> tuple[Tensor, dict[str, Tensor]]:
        return z.square().mean(), {}


def linear_m2(seed: int = 0, **kwargs: Any) -> M2:
    torch.manual_seed(seed)
    return M2(shape=(5,), latent_dim=2, num_classes=3, classifier=linear, **LINEAR, **kwargs).double()


def log_p_given(model: M2, x: Tensor) -> Tensor:
    """Exact log p(x|y) of a linear-Gaussian model, (B, C)."""
    weight, bias = model.decoder.layers[1].weight.detach(), model.decoder.layers[1].bias.detach()
    covariance = weight[:, :2] @ weight[:, :2].T + 0.25 * torch.eye(5, dtype=weight.dtype)
    return torch.stack([MultivariateNormal(bias + weight[:, 2 + y], covariance).log_prob(x) for y in range(3)], 1)


def trained(model: M2) -> tuple[M2, Tensor]:
    """A model near the optimum of U(x) for its own fixed decoder, and examples of it."""
    with torch.no_grad():
        model.decoder.layers[1].weight.mul_(3)
        x = model.sample(200, mean=False)
    own = [*model.encoder.parameters(), *model.classifier.parameters()]
    optimizer = torch.optim.Adam(own, lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        model.losses(x)["loss"].backward()
        optimizer.step()
    return model, x


def test_the_evidence_is_a_sum_over_classes() -> None:
    """U(x) lies below log of the mean of p(x|y), by as much as q differs from the posterior, and weights reach it."""
    model, x = trained(linear_m2())
    exact = log_p_given(model, x).logsumexp(1) - math.log(3)
    with torch.no_grad():
        bound = torch.stack([model.losses(x)["elbo"] for _ in range(50)])
    gap, error = exact.mean() - bound.mean(), bound.std() / 50**0.5
    assert -4 * error < gap < 0.1
    torch.testing.assert_close(model.log_evidence(x, num_samples=5000), exact, rtol=0, atol=0.1)
    spread = log_p_given(model, x).softmax(1)  # which a linear classifier can be
    assert (model.classify(x).exp() - spread).abs().mean() < 0.03 < (spread - 1 / 3).abs().mean()


@pytest.mark.exhaustive
def test_the_bound_of_draws_is_that_of_the_sum() -> None:
    model, x = trained(linear_m2())
    drawn = model.elbo(x, num_samples=2000)
    summed = torch.stack([model.losses(x)["elbo"] for _ in range(20)]).mean()
    torch.testing.assert_close(drawn.value.mean(), summed, rtol=0, atol=0.02)
    for name in ("classifier", "encoder", "decoder"):  # also its gradient, for the classifier by the score function
        weight = getattr(model, name).layers[1].weight
        grads = [
            torch.autograd.grad(value, weight)[0]
            for value in (model.elbo(x, num_samples=2000).value.mean(), model.elbo(x, num_samples=2000).value.mean())
        ]
        exact = torch.stack([torch.autograd.grad(model.losses(x)["elbo"], weight)[0] for _ in range(40)]).mean(0)
        noise = (grads[0] - grads[1]).norm() + 0.03
        assert (grads[0] - exact).norm() < 3 * noise, name


@pytest.mark.parametrize("shape", [(1, 8, 8), (6,)])
def test_with_all_labels_it_is_the_conditional_vae(shape: tuple[int, ...]) -> None:
    """With alpha = 0 the loss is -(the bound of log p(x|y) + log p(y))."""
    model = tiny(M2, alpha=0.0, shape=shape, posterior=small_spread)
    plain = tiny(ConditionalVAE, shape=shape, posterior=small_spread)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("classifier")})
    x, c = torch.rand(7, *shape).round(), torch.arange(7) % 3
    expected = plain.losses(x, c)["loss"] + math.log(3)
    torch.testing.assert_close(model.losses(x, c)["loss"], expected, rtol=1e-5, atol=1e-4)
    assert abs(model.losses(x)["loss"] - expected) > 1e-3


class TestLabels:
    def test_each_example_counts_once(self) -> None:
        """The loss of a mixed batch is the mean over its examples: labels are not a batch of their own."""
        model = tiny(M2, posterior=small_spread)
        x, c = torch.rand(8, 1, 8, 8).round(), torch.tensor([0, 2, -1, -1, -1, 1, -1, -1])
        each = [model.losses(x[n : n + 1], c[n : n + 1])["loss"] for n in range(8)]
        torch.testing.assert_close(model.losses(x, c)["loss"], torch.stack(each).mean(), rtol=1e-5, atol=1e-4)

    def test_the_papers_weight(self) -> None:
        model = tiny(M2, alpha=0.1, num_train=1000, num_labelled=50, posterior=small_spread)
        x, c = torch.rand(8, 1, 8, 8).round(), torch.tensor([0, 2, -1, -1, -1, 1, -1, -1])
        loss = model.losses(x, c)["loss"]
        nll = -model.classify(x)[[0, 1, 5], [0, 2, 1]].sum() / 8
        model.alpha = 0.0
        torch.testing.assert_close(loss - model.losses(x, c)["loss"], 0.1 * 1000 / 50 * nll, rtol=1e-3, atol=1e-4)

    def test_metrics_know_no_label(self, images: Tensor) -> None:
        model, c = tiny(M2), torch.arange(len(images)) % 3
        torch.manual_seed(0)
        first = model.losses(images, c)
        torch.manual_seed(0)
        again = model.losses(images, torch.full_like(c, -1))
        assert all(torch.equal(first[name], again[name]) for name in ("elbo", "kl", "reconstruction", "class_kl"))
        assert not torch.equal(first["loss"], again["loss"])

    def test_accuracy_is_of_the_labelled(self) -> None:
        model, x = tiny(M2), torch.rand(6, 1, 8, 8)
        best = model.classify(x).argmax(1)
        c = torch.cat([best[:2], (best[2:3] + 1) % 3, torch.full((3,), -1)])
        means = model.curves(model.losses(x, c))
        assert means["accuracy"] == pytest.approx(2 / 3)
        nll = -model.classify(x)[[0, 1, 2], c[:3]].mean()
        torch.testing.assert_close(means["class_nll"], nll)
        assert model.curves(model.losses(x))["accuracy"] == 0

    def test_out_of_range(self, tmp_path: Path) -> None:
        model, x = tiny(M2), torch.rand(2, 1, 8, 8)
        for c in ([0, 3], [-2, 0]):
            with pytest.raises(ValueError, match=r"labels must lie in 0 \.\. 2, got"):
                quiet_trainer(tmp_path).validate(model, Batches((x, torch.tensor(c))))
        with pytest.raises(ValueError, match="labels must lie in"):
            model.sample(2, torch.tensor([0, -1]))


@pytest.mark.exhaustive
@pytest.mark.slow
def test_learns_from_the_unlabelled(tmp_path: Path) -> None:
    """The same classifier is right about 0.865 of the images if it is trained on the 100 labels only."""
    network = partial(Dense, hidden=[64])
    settings = {**dict.fromkeys(("encoder", "decoder", "classifier"), network), "latent_dim": 8, "num_classes": 10}
    settings |= {"likelihood": partial(FixedNormal, scale=0.2), "optimizer": partial(torch.optim.Adam, lr=3e-3)}
    settings |= {"alpha": 5.0, "num_train": 1397, "num_labelled": 100}
    data = Digits(num_labels=100)
    _, trainer = fit(tmp_path, M2, data=data, seed=0, max_epochs=15, kwargs=settings)
    assert trainer.callback_metrics["val/accuracy"] > 0.88
    assert trainer.callback_metrics["val/labelled"] == 1


def test_samples(images: Tensor) -> None:
    model = tiny(M2)
    torch.manual_seed(1)
    chosen = model.sample(4, torch.tensor([0, 1, 2, 1]))
    torch.manual_seed(1)
    z = model.prior().sample((4,))
    assert torch.equal(z[:, 4:].sum(1), torch.ones(4))
    assert chosen.shape == (4, 1, 8, 8)
    assert model.sample(5, temperature=0.5).shape == (5, 1, 8, 8)
    z = model.embed(images)
    assert z.shape == (len(images), 7)
    assert torch.equal(z[:, 4:].argmax(1), model.classify(images).argmax(1))


def test_a_prior_of_each_class(images: Tensor) -> None:
    model = tiny(M2, prior=partial(ConditionalNormal, num_classes=3))
    model.losses(images, torch.arange(len(images)) % 3 - 1)["loss"].backward()
    p = model.prior()
    z = torch.cat([torch.randn(3, 4), torch.eye(3)], 1)
    of_class = model.latent_prior(torch.arange(3)).log_prob(z[:, :4]) - math.log(3)
    torch.testing.assert_close(p.log_prob(z), of_class)
    assert model.sample(3, torch.arange(3)).shape == (3, 1, 8, 8)
    assert model.log_evidence(images, None, 3).shape == (len(images),)


class TestRefuses:
    @pytest.mark.parametrize("alpha", [-1.0, math.nan, math.inf])
    def test_bad_weights(self, alpha: float) -> None:
        with pytest.raises(ValueError, match=f"alpha must be at least 0 and finite, got {alpha}"):
            tiny(M2, alpha=alpha)

    def test_more_labels_than_examples(self) -> None:
        with pytest.raises(ValueError, match=r"num_labelled must lie in 1 \.\. 48, the number of examples, got 49"):
            tiny(M2, num_labelled=49)

    def test_data_without_labels(self) -> None:
        with pytest.raises(ValueError, match="M2 needs data with labels"):
            build(M2, num_classes=None)

    def test_a_scale_of_all_classes(self) -> None:
        with pytest.raises(ValueError, match="OptimalNormal would mix into its σ: choose another likelihood"):
            tiny(M2, likelihood=OptimalNormal)

    def test_terms_of_one_latent(self) -> None:
        for name, value in (("free_bits", 0.5), ("penalties", [Size])):
            with pytest.raises(TypeError, match=f"M2 takes no {name}: its rate and its latents are those of all"):
                tiny(M2, **{name: value})

    def test_a_prior_of_other_classes(self) -> None:
        with pytest.raises(ValueError, match="the prior must be of 3 classes, as the data, got 10"):
            tiny(M2, prior=ConditionalNormal)

    def test_weights_of_samples(self) -> None:
        with pytest.raises(TypeError, match="the loss of M2 has no samples of the joint posterior"):
            tiny(type("Both", (IWAE, M2), {}))

    def test_chains(self, images: Tensor) -> None:
        with pytest.raises(TypeError, match="chains need continuous latents, which those of M2 are not"):
            ais(tiny(M2), images)


def test_goes_with_a_weighted_rate(images: Tensor) -> None:
    both = type("Both", (BetaVAE, M2), {})
    model = tiny(both, beta=0.0, alpha=0.0)
    values = model.losses(images)
    torch.testing.assert_close(values["loss"], -values["reconstruction"])


def test_a_fit_with_hidden_labels(tmp_path: Path) -> None:
    data = tiny_data(num_labels=9)
    assert data.num_labelled == 9
    _, trainer = fit(tmp_path, M2, data=data, max_epochs=1)
    assert trainer.callback_metrics["train/labelled"] < 1
