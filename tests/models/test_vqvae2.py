"""Two levels of codes: how the bottom depends on the top, and draws of both."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from helpers import losses, small, tiny, tiny_data
from torch import Tensor

from vae_zoo.models import VQVAE2, ConditionalVQVAE, ResidualVQVAE
from vae_zoo.nn import Codebook, CodePrior, Dense, GridDecoder, GridEncoder

PRIOR = partial(CodePrior, width=8, num_heads=2)
KWARGS = {"encoder": small, "decoder": small, "code_prior": PRIOR, "latent_dim": 3, "num_codes": 3}


def model_of(**kwargs: object) -> VQVAE2:
    torch.manual_seed(0)
    model = tiny(VQVAE2, **{**KWARGS, **kwargs})
    model.initialise(tiny_data().examples("train"))
    return model


def loud(model: VQVAE2) -> VQVAE2:
    """The bottom's prior away from the uniform distribution that both start near, and codes of the top far apart."""
    with torch.no_grad():
        for p in model.code_prior.parameters():
            p.mul_(3)
        model.code_prior.context.weight.mul_(10)
        model.top_codebook.vectors.copy_(10 * torch.randn_like(model.top_codebook.vectors))
    return model


def every(model: VQVAE2) -> Tensor:
    return torch.cartesian_prod(*[torch.arange(3)] * model.codes_shape[0])


def test_draws_have_the_probabilities_of_both_priors() -> None:
    """Of 1 x 1 and 1 x 2 places, all 27 codes: the bottom is drawn given the top that is drawn with it."""
    model = loud(model_of(grid=(1, 2)))
    codes = every(model)
    probs = model.log_prior(codes).exp()
    assert probs.sum().item() == pytest.approx(1, abs=1e-5)
    drawn = model.draw_codes(20_000)
    part = (drawn[:, None] == codes).all(-1).float().mean(0)
    torch.testing.assert_close(part, probs.detach(), rtol=0, atol=0.012)


def test_the_prior_of_the_bottom_depends_on_the_top() -> None:
    model = loud(model_of(grid=(2, 2)))
    one = torch.tensor([[0, 1, 2, 0, 1]])
    other = torch.tensor([[1, 1, 2, 0, 1]])
    parts = [model.log_prior(codes) - model.top_prior.log_prob(codes[:, :1].reshape(1, 1, 1)) for codes in (one, other)]
    assert (parts[0] - parts[1]).abs() > 1e-2
    sums = []
    for top in range(3):  # of each top, over every bottom
        bottoms = torch.cartesian_prod(*[torch.arange(3)] * 4)
        codes = torch.cat([torch.full((81, 1), top), bottoms], 1)
        log_prob = model.log_prior(codes) - model.top_prior.log_prob(codes[:, :1].reshape(81, 1, 1))
        sums.append(torch.logsumexp(log_prob, 0).item())
    assert sums == pytest.approx([0, 0, 0], abs=1e-5)


def test_the_latents_of_the_bottom_depend_on_the_codes_of_the_top(images: Tensor) -> None:
    model = model_of().eval()
    before = model.codes(images)
    with torch.no_grad():
        model.top_codebook.vectors.copy_(model.top_codebook.vectors.flip(0) + 5)
    tops, bottoms = zip(*(model._levels(codes) for codes in (before, model.codes(images))), strict=True)
    assert not torch.equal(tops[0], tops[1])
    assert not torch.equal(bottoms[0], bottoms[1])


def test_loss_is_that_of_two_codebooks(images: Tensor) -> None:
    model = model_of(codebook=Codebook, beta=0.5)
    values, h = losses(model, images), model._latents(images)
    top = model.top_codebook(model.top_encoder(h))
    raised = model.top_decoder(model.top_codebook.lookup(top.codes))
    bottom = model.codebook(model.bottom_encoder(torch.cat([h, raised], 1)))
    square = (top.commitment + bottom.commitment).mean()
    z = torch.cat([raised, model.codebook.lookup(bottom.codes)], 1)
    log_px = model.decode(z).log_prob(images).mean()
    torch.testing.assert_close(values["commitment"], square)
    torch.testing.assert_close(values["loss"], 1.5 * square - log_px + values["kl"])
    torch.testing.assert_close(model.embed(images), z)


def test_both_codebooks_move_after_a_step(images: Tensor) -> None:
    model = model_of().train()
    before = [book.vectors.clone() for book in model.quantizers]
    assert len(before) == 2
    model.losses(images)
    assert all(torch.equal(a, book.vectors) for a, book in zip(before, model.quantizers, strict=True))
    model.move_codes()
    assert not any(torch.equal(a, book.vectors) for a, book in zip(before, model.quantizers, strict=True))
    model.codes(images)  # which records nothing
    assert not any(book.counts.any() for book in model.quantizers)


@pytest.mark.parametrize(
    ("shape", "grids"),
    [
        ((1, 8, 8), ((2, 2), (4, 4))),
        ((3, 28, 20), ((7, 5), (14, 10))),
        ((17,), ((4,), (8,))),
        ((1, 1, 1), ((1, 1), (1, 1))),
    ],
)
def test_grids(shape: tuple[int, ...], grids: tuple[tuple[int, ...], ...]) -> None:
    model = tiny(VQVAE2, **KWARGS, shape=shape)
    assert (model.top_grid, model.grid) == grids
    assert model.sample(2).shape == (2, *shape)


def test_networks_of_grids(images: Tensor) -> None:
    networks = {"encoder": GridEncoder, "top_encoder": GridEncoder, "bottom_encoder": GridEncoder}
    networks |= {"decoder": GridDecoder, "top_decoder": GridDecoder}
    model = tiny(VQVAE2, **{**KWARGS, **{name: partial(net, width=4) for name, net in networks.items()}})
    losses(model, images)["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_goes_together_with_classes_and_levels(images: Tensor) -> None:
    class Both(ConditionalVQVAE, ResidualVQVAE, VQVAE2): ...

    model = tiny(Both, **KWARGS, depth=2)
    assert model.code_shapes == ((2, 2, 2), (4, 4, 2))
    losses(model, images)["loss"].backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert model.sample(3, torch.arange(3)).shape == (3, 1, 8, 8)


def test_bad_values() -> None:
    with pytest.raises(ValueError, match=r"the sides of the top grid must be at least 1, got \(0, 2\)"):
        tiny(VQVAE2, **KWARGS, top_grid=(0, 2))
    with pytest.raises(ValueError, match=r"top_decoder must give \(B, 3, 4, 4\), gave \(B, 3\)"):
        tiny(VQVAE2, **KWARGS, top_decoder=Flat).sample(1)


class Flat(Dense):
    def __init__(self, in_shape: tuple[int, ...], out_shape: tuple[int, ...]) -> None:
        super().__init__(in_shape, out_shape[:1])
