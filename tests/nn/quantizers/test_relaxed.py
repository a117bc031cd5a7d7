"""Residual quantisation that is relaxed in training."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, kl_divergence
from torch.nn.functional import normalize

from vae_zoo.nn import Constant, Ramp, RelaxedResidualQuantizer
from vae_zoo.nn.quantizers.composed import norm_penalty


def latents(num: int = 40, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(num, dim, 2, 3, generator=torch.Generator().manual_seed(seed))


def started(num_codes: int = 8, **kwargs: Any) -> RelaxedResidualQuantizer:
    book = RelaxedResidualQuantizer(num_codes, 4, **kwargs)
    book.start(latents())
    return book


def levels(book: RelaxedResidualQuantizer, z: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Categories and nearest codes of each level in evaluation, by distances from its vectors."""
    found, rest = [], z.movedim(1, -1)
    for vectors in book.vectors.detach():
        distances = torch.cdist(rest.reshape(-1, 4).double(), vectors.double()).square().reshape(*rest.shape[:-1], -1)
        codes = distances.argmin(-1)
        found.append((Categorical(logits=-distances), codes))
        rest = rest - vectors[codes]
    return found


def test_evaluation_takes_the_nearest_vectors() -> None:
    book, z = started(depth=3).eval(), latents(seed=1)
    found = book(z)
    assert found.codes.shape == (40, 2, 3, 3)
    for n, (_, codes) in enumerate(levels(book, z)):
        assert torch.equal(found.codes[..., n], codes)
    torch.testing.assert_close(found.z, book.lookup(found.codes))
    parts = [vectors[code] for vectors, code in zip(book.vectors, found.codes.unbind(-1), strict=True)]
    torch.testing.assert_close(found.z, sum(parts).movedim(-1, 1))
    assert torch.equal(book.train()(z).codes, found.codes), "the codes are not drawn"


def test_what_it_adds_is_the_divergence_of_the_codes_from_uniform_ones() -> None:
    """In this direction, a sum over levels and places, and of each example."""
    book, z = started(depth=2, kl_weight=0.3, norm_decay=0.0).eval(), latents(seed=1)
    found = book(z)
    uniform = Categorical(logits=torch.zeros(8, dtype=torch.float64))
    nats = sum(kl_divergence(q, uniform).flatten(1).sum(1) for q, _ in levels(book, z))
    torch.testing.assert_close(found.codebook_loss, 0.3 * nats.float())
    torch.testing.assert_close(book(z.repeat(3, 1, 1, 1)).codebook_loss[:40], found.codebook_loss)


def test_norms_that_do_not_fall_are_penalised() -> None:
    book, z = started(depth=3, kl_weight=0.0, norm_decay=1.5).eval(), latents(seed=1)
    with torch.no_grad():
        book.vectors.copy_(normalize(torch.randn(3, 8, 4), dim=-1))
        book.vectors[1] *= 1 / 2  # falls by more than 1.5; what follows does not fall
        book.vectors[2] *= 1 / 2
    torch.testing.assert_close(book(z).codebook_loss, torch.full((40,), 0.25))
    assert norm_penalty([torch.zeros(2, 3)] * 2, 1.5) == 0, "nothing to compare"


def test_a_cold_mixture_is_a_draw_of_the_categories() -> None:
    book = started(depth=1, temperature=partial(Constant, 1e-4), dropout=0.0).train()
    z = latents(num=1, seed=1)
    drawn = book(z.expand(20_000, -1, -1, -1)).z
    (q, _), *_ = levels(book, z)
    mean = (q.probs.float() @ book.vectors[0].detach()).movedim(-1, 1)
    torch.testing.assert_close(drawn.detach().mean(0, keepdim=True), mean, rtol=0, atol=0.05)
    nearest = torch.cdist(drawn.detach()[:50].movedim(1, -1).reshape(-1, 4), book.vectors[0].detach()).amin(1)
    assert nearest.max() < 1e-3


def test_the_temperature_follows_the_steps() -> None:
    book = started(depth=1, temperature=partial(Ramp, 50.0, 0.01, 10), dropout=0.0, straight_through=False).train()
    z = latents(seed=1)
    spread = []
    for step in (0, 10):
        book.temperature.set(step)
        torch.manual_seed(0)
        rows = book(z).z.detach().movedim(1, -1).reshape(-1, 4)
        spread.append(torch.cdist(rows, book.vectors[0].detach()).amin(1).mean().item())
    assert spread[1] < 0.1 * spread[0]


def test_straight_through_takes_one_vector_with_the_gradient_of_the_mixture() -> None:
    distances, slopes = [], []
    for straight_through in (True, False):
        book = started(depth=1, dropout=0.0, straight_through=straight_through).train()
        z = latents(seed=1).requires_grad_()
        torch.manual_seed(0)
        e = book(z).z
        rows = e.detach().movedim(1, -1).reshape(-1, 4)
        distances.append(torch.cdist(rows, book.vectors[0].detach()).amin(1))
        slopes.append(torch.autograd.grad(e.sum(), z)[0])
    assert distances[0].max() < 1e-3
    assert distances[1].mean() > 0.1
    torch.testing.assert_close(*slopes)


def test_gradients_reach_the_latents_and_every_level() -> None:
    book, z = started(depth=3, dropout=0.0, norm_decay=0.0).train(), latents(seed=1).requires_grad_()
    book(z).z.square().sum().backward()
    assert z.grad is not None
    assert z.grad.abs().amax() > 0
    assert book.vectors.grad is not None
    assert (book.vectors.grad.abs().amax((1, 2)) > 0).all()


def test_some_examples_are_decoded_from_their_first_levels() -> None:
    book, z = started(depth=3, dropout=1.0, temperature=partial(Constant, 1e-4)).train(), latents(num=1, seed=1)
    z = z.expand(3000, -1, -1, -1)
    with torch.no_grad():
        book.vectors.mul_(100.0)  # so cold and far that nothing is left to chance
        whole = book.eval()(100 * z[:1]).codes
        found = book.train()(100 * z).z
    parts = [vectors[code].movedim(-1, 1) for vectors, code in zip(book.vectors, whole.unbind(-1), strict=True)]
    for num in (1, 2, 3):
        share = (found - sum(parts[:num])).flatten(1).abs().amax(1).lt(1e-2).float().mean().item()
        assert share == pytest.approx(1 / 3, abs=4 * math.sqrt(2 / 9 / 3000))


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"depth": 0}, "depth must be at least 1 and dropout lie in .0, 1., got 0 and 0.1"),
        ({"dropout": 1.1}, "got 4 and 1.1"),
        ({"kl_weight": -1.0}, "kl_weight must be at least 0 and finite, got -1.0"),
        ({"norm_decay": math.inf}, "norm_decay must be at least 0 and finite, got inf"),
    ],
)
def test_bad_values(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RelaxedResidualQuantizer(8, 4, **kwargs)


def test_a_temperature_that_is_no_schedule() -> None:
    with pytest.raises(TypeError, match="temperature must make a Schedule, got float"):
        RelaxedResidualQuantizer(8, 4, temperature=lambda: 0.5)
