"""The adversary on latents: what it learns, and which term trains which network."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from helpers import build, fit, losses, small
from torch import Tensor

from vae_zoo.data import Digits
from vae_zoo.distributions import StandardNormal
from vae_zoo.models import AAE, VAE, WAEGAN
from vae_zoo.nn import Dense, Discriminator
from vae_zoo.penalties import LatentAdversary


def gradients(loss: Tensor, module: torch.nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(loss, list(module.parameters()), allow_unused=True, retain_graph=True))


def test_the_adversary_learns_the_log_ratio_of_prior_and_posterior() -> None:
    """For q = N(1, 1) and p = N(0, 1) it is 1/2 - z, which a linear adversary can be."""
    torch.manual_seed(0)
    adversary = LatentAdversary((1,), discriminator=partial(Dense, hidden=()))
    p = StandardNormal((1,))()
    optimizer = torch.optim.Adam(adversary.parameters(), lr=0.03)
    for _ in range(400):
        optimizer.zero_grad()
        adversary.own_loss(1 + torch.randn(1000, 1), p).backward()
        optimizer.step()
    z = torch.tensor([[-1.0], [0.0], [1.0], [2.0]])
    torch.testing.assert_close(adversary.discriminator(z), 0.5 - z, rtol=0.15, atol=0.15)


def test_the_encoder_moves_towards_the_prior() -> None:
    torch.manual_seed(0)
    adversary, p = LatentAdversary((1,), discriminator=partial(Dense, hidden=())), StandardNormal((1,))()
    with torch.no_grad():
        adversary.discriminator.layers[1].weight.fill_(-1.0)  # as it is in the test above
    z = (1 + torch.randn(100, 1)).requires_grad_()
    adversary(z, None, p)[0].backward()
    assert (z.grad > 0).all()  # and so a step of descent lowers z


@pytest.mark.parametrize(
    "cls",
    [
        partial(AAE, weight=10.0),
        partial(WAEGAN, weight=10.0),
        partial(VAE, penalties=[partial(LatentAdversary, weight=10.0)]),
    ],
    ids=["AAE", "WAEGAN", "VAE"],
)
def test_each_term_trains_its_own(cls: type, images: Tensor) -> None:
    torch.manual_seed(0)
    model = build(cls) if isinstance(cls, type) else cls(shape=(1, 8, 8), latent_dim=4)
    found = losses(model, images)
    (adversary,) = model.penalties
    own, deceive = found["latent_adversary_loss"], found["latent_adversary"]
    assert all(g is None for g in gradients(own, model.encoder))
    assert all(g is None for g in gradients(deceive, adversary))
    for whole, alone in zip(gradients(found["loss"], adversary), gradients(own, adversary), strict=True):
        assert torch.equal(whole, alone)
    rest = found["loss"] - own
    for whole, alone in zip(gradients(found["loss"], model.encoder), gradients(rest, model.encoder), strict=True):
        torch.testing.assert_close(whole, alone)
    expected = [10 * g for g in gradients(deceive, model.encoder)]
    for got, wanted in zip(gradients(rest - reconstruction(found), model.encoder), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-5)


def reconstruction(found: dict[str, Tensor]) -> Tensor:
    return found.get("kl", torch.zeros(())) - found["reconstruction"]


def test_its_parameters_have_their_own_rate() -> None:
    model = build(AAE, discriminator_lr=2e-4)
    *_, group = model.param_groups()
    assert group["lr"] == 2e-4
    assert {id(p) for p in group["params"]} == {id(p) for p in model.penalties.parameters()}
    assert sum(len(g["params"]) for g in model.param_groups()) == len(list(model.parameters()))
    with pytest.raises(ValueError, match="lr must be positive and finite, got 0"):
        build(AAE, discriminator_lr=0)


def test_the_discriminator_is_that_of_the_paper_of_factor_vae_unless_given() -> None:
    assert isinstance(build(AAE).penalties[0].discriminator, Discriminator)


class TestLabels:
    def test_without_their_number_labels_change_nothing(self, images: Tensor) -> None:
        model, labels = build(AAE), torch.arange(len(images)) % 3
        assert model.penalties[0].discriminator.layers[1].in_features == 4
        without, given = losses(model, images), losses(model, images, c=labels)
        assert all(torch.equal(given[name], value) for name, value in without.items())

    @pytest.mark.parametrize("cls", [AAE, WAEGAN])
    def test_the_adversary_depends_on_them_and_reconstructions_do_not(self, cls: type, images: Tensor) -> None:
        model, labels = build(cls, num_label_classes=3), torch.arange(len(images)) % 3
        found = losses(model, images, c=labels)
        for other in ((labels + 1) % 3, torch.full_like(labels, -1)):
            changed = losses(model, images, c=other)
            assert torch.equal(changed["reconstruction"], found["reconstruction"])
            for name in ("latent_adversary", "latent_adversary_loss"):
                assert changed[name] != found[name]

    def test_an_unknown_label_is_a_class_of_its_own(self) -> None:
        adversary = LatentAdversary((2,), num_classes=3, discriminator=partial(Dense, hidden=()))
        z, p = torch.zeros(4, 2), StandardNormal((2,))()
        weight = adversary.discriminator.layers[1].weight
        with torch.no_grad():
            weight.copy_(torch.tensor([[0.0, 0.0, 1.0, 2.0, 3.0, 4.0]]))
            adversary.discriminator.layers[1].bias.zero_()
        logits = torch.tensor([1.0, 3.0, 4.0, 4.0])
        expected = torch.nn.functional.softplus(-logits).mean()
        torch.testing.assert_close(adversary(z, None, p, torch.tensor([0, 2, -1, -1]))[0], expected)
        torch.testing.assert_close(adversary(z, None, p)[0], torch.nn.functional.softplus(torch.tensor(-4.0)))

    def test_the_adversary_learns_the_log_ratio_of_each_class(self) -> None:
        """For q(z|c) = N(±1, 1) and p = N(0, 1) it is 1/2 - z and 1/2 + z."""
        torch.manual_seed(0)
        adversary = LatentAdversary((1,), num_classes=2, discriminator=partial(Dense, hidden=(16,)))
        p, labels = StandardNormal((1,))(), torch.arange(1000) % 2
        optimizer = torch.optim.Adam(adversary.parameters(), lr=0.01)
        for _ in range(400):
            optimizer.zero_grad()
            z = (1 - 2 * labels)[:, None] + torch.randn(1000, 1)
            adversary.own_loss(z, p, labels).backward()
            optimizer.step()
        z = torch.tensor([[-1.0], [0.0], [1.0]])
        for label, sign in ((0, -1), (1, 1)):
            one_hot = torch.eye(3)[[label] * 3]
            found = adversary.discriminator(torch.cat([z, one_hot], 1))
            torch.testing.assert_close(found, 0.5 + sign * z, rtol=0.2, atol=0.25)

    def test_partly_labelled_digits_are_fitted(self, tmp_path: Path) -> None:
        data = Digits(num_labels=50, batch_size=200)
        kwargs = {"num_label_classes": 10, "encoder": small, "decoder": small, "latent_dim": 3}
        discriminator = partial(Discriminator, hidden=(8,))
        model, trainer = fit(tmp_path, AAE, data=data, kwargs={**kwargs, "discriminator": discriminator}, max_epochs=1)
        assert trainer.callback_metrics["val/latent_adversary"].isfinite()
        assert model.penalties[0].discriminator.layers[1].in_features == 3 + 10 + 1

    @pytest.mark.parametrize(
        ("labels", "line"),
        [
            (None, "AAE with num_label_classes needs data with labels"),
            (torch.tensor([0, 1, 3]), r"labels must lie in 0 .. 2, or be -1 if unknown, got 0 to 3"),
            (torch.zeros(3, 2, dtype=torch.long), r"labels must be integers of shape \(3,\)"),
        ],
    )
    def test_refuses_labels_that_do_not_fit(self, labels: Tensor | None, line: str) -> None:
        x = torch.rand(3, 1, 8, 8)
        with pytest.raises(ValueError, match=line):
            build(AAE, num_label_classes=3).check_batch(x if labels is None else (x, labels))

    def test_a_fitted_model_is_evaluated_without_labels(self, images: Tensor) -> None:
        model = build(AAE, num_label_classes=3).eval()
        model.check_batch(images)
        assert model.losses(images)["loss"].isfinite()

    def test_refuses_no_classes(self) -> None:
        with pytest.raises(ValueError, match="num_label_classes must be at least 1, got 0"):
            build(AAE, num_label_classes=0)
