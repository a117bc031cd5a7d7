"""Tokenizers: the terms of perception and of the discriminator, each for its own networks."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import build, few_blocks, losses, quiet_trainer, tiny_data
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from vae_zoo.distributions import FixedNormal
from vae_zoo.models import VAE, VQGAN, VQVAE, AutoencoderKL
from vae_zoo.nn import (
    FSQ,
    LFQ,
    R1,
    Codebook,
    Dense,
    EMACodebook,
    LeCam,
    PatchDiscriminator,
    ResidualDecoder,
    ResidualEncoder,
    VGGFeatures,
)
from vae_zoo.testing import examine
from vae_zoo.testing.subject import RandomFeatures

every = pytest.mark.parametrize("cls", [AutoencoderKL, VQGAN])


def made(cls: type = AutoencoderKL, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    return build(cls, **{"discriminator_start": 0, **kwargs})


def gradients(loss: Tensor, module: nn.Module) -> list[Tensor]:
    params = list(module.parameters())
    grads = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)]


def separate(model: AutoencoderKL, x: Tensor, seed: int) -> dict[str, Tensor]:
    """The objectives of autoencoder and discriminator by their definition, with nothing held fixed."""
    torch.manual_seed(seed)
    q, network = model.encode(x), RandomFeatures()
    px = model.decode(q.rsample((1,)).squeeze(0))
    pairs = zip(network(px.mean), network(x), strict=True)
    relative = [2 * ((a - b) ** 2).flatten(1).sum(1) / (a**2 + b**2).flatten(1).sum(1) for a, b in pairs]
    perceptual = x[0].numel() * torch.stack(relative).sum(0).mean()
    kl = 0.5 * (q.mean.square() + q.variance - 1 - q.variance.log()).flatten(1).sum(1).mean()
    distance = -px.log_prob(x).mean() + model.perceptual_weight * perceptual
    real, fake = model.discriminator(x), model.discriminator(px.mean)
    last = model.decoder.head.weight
    slopes = [torch.autograd.grad(term, last, retain_graph=True)[0].norm().item() for term in (distance, fake.mean())]
    deceive = model.adversarial_weight * slopes[0] / (slopes[1] + 1e-4) * -fake.mean()
    own = (torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()) / 2
    return {"encoder": distance + model.beta * kl + deceive, "discriminator": own}


@pytest.mark.parametrize("part", ["encoder", "decoder", "discriminator"])
def test_each_network_gets_the_gradient_of_its_own_objective(part: str, images: Tensor) -> None:
    model = made(beta=0.1, perceptual_weight=0.7, adversarial_weight=0.3)
    module = getattr(model, part)
    wanted = gradients(separate(model, images, 1)["discriminator" if part == "discriminator" else "encoder"], module)
    found = gradients(losses(model, images)["loss"], module)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


class HelpsTheDiscriminator(AutoencoderKL):
    """The sign of the decoder's term turned."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        return values | {"loss": values["loss"] - 2 * values["adversarial_weight"] * values["generator_loss"]}


class MovesTheDiscriminator(AutoencoderKL):
    """The pictures deceive a discriminator that is not held fixed, and goes along."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        assert self.discriminator is not None
        return values | {"loss": values["loss"] - self.discriminator(self.reconstruct(x)).mean()}


class ComparesNothing(AutoencoderKL):
    """The comparison in features carries no gradient."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        return values | {"loss": values["loss"] - values["perceptual"] + values["perceptual"].detach()}


class LeaksIntoTheDecoder(VQGAN):
    """What the discriminator learns from moves the pictures it judges."""

    def losses(self, x: Tensor, c: Tensor | None = None) -> dict[str, Tensor]:
        values = super().losses(x, c)
        assert self.discriminator is not None
        return values | {"loss": values["loss"] + (1 + self.discriminator(self.reconstruct(x))).relu().mean()}


@pytest.mark.parametrize("cls", [HelpsTheDiscriminator, MovesTheDiscriminator, ComparesNothing, LeaksIntoTheDecoder])
def test_a_wrong_route_is_seen(cls: type) -> None:
    assert not examine(cls, only=("routing",)).passed


@pytest.mark.parametrize("given", [{"restraint": R1}, {"restraint": LeCam}, {"num_samples": 2}])
def test_routes_with_options(given: dict[str, Any]) -> None:
    assert examine(AutoencoderKL, only=("routing",), **given).passed


@every
def test_gradients_of_picture_and_discriminator_balance_at_the_last_layer(cls: type, images: Tensor) -> None:
    model = made(cls, adversarial_weight=0.25, network=None)
    values, last = losses(model, images), model.decoder.head.weight
    pixels, judged = (
        torch.autograd.grad(term, last, retain_graph=True)[0].norm()
        for term in (values["reconstruction"], values["adversarial_weight"] * values["generator_loss"])
    )
    torch.testing.assert_close(judged / pixels, torch.tensor(0.25), rtol=0.01, atol=0)
    assert model.balance == values["adversarial_weight"] / 0.25
    assert losses(model.eval(), images)["adversarial_weight"] == values["adversarial_weight"]  # that of training
    assert losses(made(cls, adaptive=False), images)["adversarial_weight"] == 0.5 * 64


@every
def test_the_discriminator_starts_late(cls: type, tmp_path: Path) -> None:
    model, data = made(cls, discriminator_start=3), tiny_data()
    trainer = quiet_trainer(tmp_path, limit_train_batches=5, limit_val_batches=0)
    before = [p.clone() for p in model.discriminator.parameters()]
    moved, seen = [], []
    original = model.on_train_batch_end

    def watch(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        moved.append(any(not torch.equal(a, b) for a, b in zip(before, model.discriminator.parameters(), strict=True)))
        seen.append(model.balance.item() > 0)

    model.on_train_batch_end = watch
    trainer.fit(model, data)
    assert moved == seen == [False, False, False, True, True]


@every
def test_before_the_start_the_loss_is_that_of_the_autoencoder(cls: type, images: Tensor) -> None:
    late, without = made(cls, discriminator_start=5), made(cls, discriminator=None)
    values, others = losses(late, images), losses(without, images)
    assert values["loss"] == values["autoencoder_loss"] == others["loss"]
    assert values["discriminator_loss"] == 0
    assert "discriminator_loss" not in others
    assert losses(late.eval(), images)["discriminator_loss"] > 0  # evaluation is of what training ends with


def test_without_both_terms_it_is_the_model_below(images: Tensor) -> None:
    networks = {"encoder": few_blocks(ResidualEncoder), "decoder": few_blocks(ResidualDecoder)}
    for cls, base in ((AutoencoderKL, VAE), (VQGAN, VQVAE)):
        given = {"beta": 1.0} if cls is AutoencoderKL else {}
        model = made(cls, network=None, discriminator=None, **given)
        if cls is VQGAN:
            torch.manual_seed(0)
            plain = build(base, **networks)
            expected = losses(plain, images)["loss"]
        else:
            torch.manual_seed(1)
            bound = model.elbo(images)
            expected = (bound.kl - bound.log_px[0]).mean()
        torch.testing.assert_close(losses(model, images)["loss"], expected)


def test_the_features_have_a_gradient_and_are_no_part_of_the_model(images: Tensor) -> None:
    model = made(discriminator=None)
    values = losses(model, images)
    assert any(g.any() for g in gradients(values["perceptual"], model.decoder))
    assert not any("features" in name for name in (*model.state_dict(), *dict(model.named_parameters())))


def test_the_evidence_of_a_grid_of_latents_is_exact() -> None:
    """A linear-Gaussian model of pictures, whose evidence is a normal density."""
    parts = dict.fromkeys(("encoder", "decoder"), partial(Dense, hidden=[]))
    parts["likelihood"] = partial(FixedNormal, scale=0.5)
    model = made(shape=(1, 4, 4), latent_dim=2, factor=4, **parts).double().eval()
    assert model.latent_shape == (2, 1, 1)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.3)  # of a posterior near the prior, and a prior near the posterior
        points = torch.cat([torch.zeros(1, 2), torch.eye(2)]).double()[..., None, None]
        rows = model.decode(points).mean.flatten(1)
        weight = (rows[1:] - rows[0]).T
        exact = MultivariateNormal(rows[0], weight @ weight.T + 0.25 * torch.eye(16).double())
        x = model.sample(3, mean=False)
        found = model.log_evidence(x, num_samples=20_000)
        wanted = exact.log_prob(x.flatten(1))
        bound = model.elbo(x, num_samples=2000).value
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.3)
    assert (bound <= wanted + 0.1).all()


@pytest.mark.parametrize(
    "given",
    [
        {"codebook": Codebook},
        {"codebook": EMACodebook},
        {"codebook": partial(FSQ, levels=[8, 5, 5, 5]), "num_codes": 1000},
        {"codebook": LFQ, "num_codes": 16},
    ],
    ids=["Codebook", "EMACodebook", "FSQ", "LFQ"],
)
def test_quantizers(given: dict[str, Any], images: Tensor) -> None:
    model = made(VQGAN, **given)
    losses(model, images)["loss"].backward()
    assert all(p.grad is not None and p.grad.any() for p in model.encoder.parameters())
    assert model.codes(images).shape == (len(images), 2, 2)
    assert model.sample(3).shape == (3, 1, 8, 8)


def test_factors() -> None:
    def grid(side: int, **given: int) -> tuple[int, ...]:
        with torch.device("meta"):
            return AutoencoderKL(shape=(3, side, side), network=None, **given).latent_shape

    assert grid(32) == (4, 8, 8)
    assert grid(64) == (4, 8, 8)
    assert grid(64, factor=4, latent_dim=3) == (3, 16, 16)
    assert grid(128, factor=16) == (4, 8, 8)
    assert grid(3) == (4, 1, 1)
    assert made(VQGAN, grid=(4, 4), factor=8).grid == (4, 4)


class TestPatches:
    @pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 20), (3, 64, 64), (1, 1, 9), (3, 4, 4)])
    @pytest.mark.parametrize("spectral", [False, True])
    def test_shapes(self, shape: tuple[int, int, int], spectral: bool) -> None:
        network = PatchDiscriminator(shape, width=8, spectral=spectral)
        logits = network(torch.rand(2, *shape))
        assert logits.shape[:2] == (2, 1)
        assert min(logits.shape[2:]) >= min(2, *shape[1:])
        logits.sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in network.parameters())

    def test_a_patch_has_54_pixels_a_side(self) -> None:
        network, x = PatchDiscriminator((1, 128, 128), width=2), torch.randn(1, 1, 128, 128, requires_grad=True)
        for layer in network.modules():
            if isinstance(layer, nn.GroupNorm):
                layer.forward = lambda x: x  # whose statistics are of all pixels
        network(x)[0, 0, 8, 8].backward()
        seen = x.grad[0, 0].nonzero()
        assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [54, 54]

    def test_examples_do_not_depend_on_each_other(self) -> None:
        network, x = PatchDiscriminator((1, 16, 16), width=8), torch.rand(5, 1, 16, 16)
        torch.testing.assert_close(network(x)[:2], network(x[:2]))

    def test_spectral_norms_are_one(self) -> None:
        network = PatchDiscriminator((1, 16, 16), width=8, spectral=True)
        for _ in range(30):
            network(torch.rand(1, 1, 16, 16))
        for layer in network.layers:
            if isinstance(layer, nn.Conv2d):
                norm = torch.linalg.matrix_norm(layer.weight.flatten(1), 2)
                torch.testing.assert_close(norm, torch.tensor(1.0), rtol=0.05, atol=0)


class TestRestraints:
    def test_lecam_against_its_formula(self) -> None:
        term = LeCam(weight=0.5, decay=0.9)
        real, fake = torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0])
        first = term(lambda x: x, real, real, fake)
        torch.testing.assert_close(first, 0.5 * torch.tensor(5.0 + 2.5))  # the averages begin at 0
        term.update()
        torch.testing.assert_close(term.means, torch.tensor([0.2, -0.15]))
        again = term.eval()(lambda x: x, real, real, fake)
        wanted = 0.5 * ((real + 0.15).square().mean() + (fake - 0.2).square().mean())
        torch.testing.assert_close(again, wanted)
        term.update()
        torch.testing.assert_close(term.means, torch.tensor([0.2, -0.15]))  # evaluation is not followed

    def test_lecam_accumulates_over_batches(self) -> None:
        term = LeCam(decay=0.0)
        for value in (1.0, 3.0):
            term(lambda x: x, torch.zeros(1), torch.tensor([value]), torch.tensor([-value]))
        term.update()
        assert term.means.tolist() == [2.0, -2.0]

    def test_r1_of_a_linear_discriminator(self) -> None:
        judge = nn.Sequential(nn.Flatten(), nn.Linear(9, 1))
        x = torch.rand(4, 1, 3, 3)
        term = R1(weight=3.0)(judge, x, judge(x), judge(x))
        torch.testing.assert_close(term, 1.5 * judge[1].weight.square().sum())
        (grad,) = torch.autograd.grad(term, judge[1].weight)
        torch.testing.assert_close(grad, 3 * judge[1].weight)
        with torch.inference_mode():
            assert R1()(judge, x, judge(x), judge(x)) == 0

    def test_the_averages_follow_a_fit_and_are_resumed(self, tmp_path: Path) -> None:
        model, data = made(restraint=LeCam), tiny_data()
        trainer = quiet_trainer(tmp_path, limit_train_batches=2, limit_val_batches=0)
        trainer.fit(model, data)
        assert model.restraint.means.all()
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        loaded = AutoencoderKL.load_from_checkpoint(tmp_path / "a.ckpt")
        assert torch.equal(loaded.restraint.means, model.restraint.means)
        assert isinstance(loaded.restraint, LeCam)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"factor": 16}, r"factor 16 needs pictures of at least 16 x 16 pixels, got \(1, 8, 8\)"),
        ({"factor": 3}, "factor must be a power of 2, such as 4, 8 or 16, got 3"),
        ({"perceptual_weight": -1.0}, "perceptual_weight must be at least 0 and finite, got -1.0"),
        ({"adversarial_weight": math.inf}, "adversarial_weight must be at least 0 and finite, got inf"),
        ({"discriminator_lr": 0.0}, "discriminator_lr must be positive and finite, got 0.0"),
        ({"discriminator_start": -1}, "number of steps before a term starts must be at least 0, got -1"),
        ({"restraint": partial(LeCam, decay=1.0)}, r"decay must lie in \[0, 1\), got 1.0"),
        ({"restraint": partial(R1, weight=0.0)}, "weight must be positive and finite, got 0.0"),
        ({"discriminator": partial(PatchDiscriminator, width=0)}, "width and num_layers must be at least 1, got 0"),
        ({"missing": True}, "needs complete examples: the discriminator judges whole pictures"),
    ],
)
@every
def test_refuses(cls: type, given: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=line):
        made(cls, **given)


@every
def test_refuses_what_are_no_pictures(cls: type) -> None:
    with pytest.raises(ValueError, match=r"a discriminator of patches needs pictures \(C, H, W\), got shape \(5,\)"):
        made(cls, shape=(5,), encoder=Dense, decoder=Dense, network=None)
    with pytest.raises(TypeError, match="restraint must make a Restraint, got Dense"):
        made(cls, restraint=Dense)


def test_says_which_weights_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"VGG19's weights are not at .* or choose EfficientNetFeatures"):
        made(network=VGGFeatures)
