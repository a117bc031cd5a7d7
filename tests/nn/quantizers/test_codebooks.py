from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from vae_zoo.nn import Codebook, EMACodebook, SimVQ, VectorQuantizer

KINDS = [Codebook, EMACodebook]
every_kind = pytest.mark.parametrize("kind", KINDS)


def latents(num: int = 6, dim: int = 3, grid: tuple[int, ...] = (2, 4), seed: int = 0) -> Tensor:
    return torch.randn(num, dim, *grid, generator=torch.Generator().manual_seed(seed))


def started(kind: type[VectorQuantizer], num_codes: int = 5, **kwargs: Any) -> VectorQuantizer:
    book = kind(num_codes, 3, **kwargs)
    with torch.no_grad():
        book.restart(torch.ones(num_codes, dtype=torch.bool), torch.randn(num_codes, 3))
    return book


@every_kind
@pytest.mark.parametrize("grid", [(), (4,), (2, 3)])
class TestForward:
    def test_nearest(self, kind: type[VectorQuantizer], grid: tuple[int, ...]) -> None:
        book, z = started(kind), latents(grid=grid)
        found = book(z)
        distances = torch.cdist(z.movedim(1, -1).reshape(-1, 3), book.vectors.detach())
        assert torch.equal(found.codes.flatten(), distances.argmin(-1))
        assert found.codes.shape == (6, *grid)
        torch.testing.assert_close(found.z, book.lookup(found.codes))
        squares = distances.min(-1).values.square().reshape(6, -1).sum(-1)
        torch.testing.assert_close(found.commitment, squares)
        torch.testing.assert_close(found.codebook_loss, squares if kind is Codebook else torch.zeros(6))

    def test_gradients(self, kind: type[VectorQuantizer], grid: tuple[int, ...]) -> None:
        book, z = started(kind), latents(grid=grid).requires_grad_()
        found, weight = book(z), torch.randn(6, 3, *grid)
        through = torch.autograd.grad((found.z * weight).sum(), z, retain_graph=True)[0]
        assert torch.equal(through, weight)  # straight through
        (commitment,) = torch.autograd.grad(found.commitment.sum(), z, retain_graph=True)
        torch.testing.assert_close(commitment, 2 * (z - found.z).detach())
        if kind is Codebook:
            (codebook_loss,) = torch.autograd.grad(found.codebook_loss.sum(), book.vectors, retain_graph=True)
            rows, codes = z.detach().movedim(1, -1).reshape(-1, 3), found.codes.flatten()
            for k in range(5):
                torch.testing.assert_close(codebook_loss[k], 2 * (book.vectors[k].detach() - rows[codes == k]).sum(0))
            assert torch.autograd.grad(found.codebook_loss.sum(), z, allow_unused=True, retain_graph=True)[0] is None
            assert torch.autograd.grad(found.z.sum(), book.vectors, allow_unused=True)[0] is None


class TestUsage:
    def test_is_a_part_of_each(self) -> None:
        book = Codebook(8, 3)
        assert book.usage(torch.arange(8).reshape(2, 4)).tolist() == [1 / 8] * 8
        assert book.usage(torch.tensor([[1, 1, 1, 2]])).tolist() == [0, 0.75, 0.25, 0, 0, 0, 0, 0]


class TestAverages:
    def test_is_the_recursion(self) -> None:
        book = started(EMACodebook, decay=0.8, revive_after=0)
        weights, totals = torch.ones(5), book.vectors.clone()
        for step in range(3):
            z = latents(seed=step)
            codes, rows = book(z).codes, z.movedim(1, -1).reshape(-1, 3)
            book.accumulate(z, codes)
            book.update()
            for k in range(5):
                mine = rows[codes.flatten() == k]
                weights[k] = 0.8 * weights[k] + 0.2 * len(mine)
                totals[k] = 0.8 * totals[k] + 0.2 * mine.sum(0)
            torch.testing.assert_close(book.vectors, totals / weights[:, None])

    def test_finds_the_means_of_clusters(self) -> None:
        means = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4]])
        book = EMACodebook(3, 3, decay=0.9)
        book.start(means[:, :, None])
        torch.manual_seed(0)
        for _ in range(100):
            z = (means.repeat(50, 1) + 0.1 * torch.randn(150, 3))[..., None]
            book.accumulate(z, book(z).codes)
            book.update()
        assert torch.cdist(book.vectors, means).min(0).values.max() < 0.05

    def test_nothing_moves_until_the_step(self) -> None:
        book, z = started(EMACodebook), latents()
        before = copy.deepcopy(book.state_dict())
        book.accumulate(z, book(z).codes)
        assert all(torch.equal(before[k], v) for k, v in book.state_dict().items())
        book.reset_stats()
        book.update()
        torch.testing.assert_close(book.vectors, before["vectors"])
        assert torch.equal(book.unused, before["unused"])

    @every_kind
    def test_accumulated_batches_are_one(self, kind: type[VectorQuantizer]) -> None:
        one, two, z = (torch.manual_seed(0), started(kind))[1], (torch.manual_seed(0), started(kind))[1], latents()
        one.accumulate(z, one(z).codes)
        for part in z.split(2):
            two.accumulate(part, two(part).codes)
        one.update()
        two.update()
        for key, value in one.state_dict().items():
            torch.testing.assert_close(two.state_dict()[key], value)


@every_kind
class TestRevival:
    def test_a_dead_code_starts_from_a_latent(self, kind: type[VectorQuantizer]) -> None:
        book = started(kind, revive_after=3)
        with torch.no_grad():
            book.restart(torch.tensor([False, False, True, False, False]), torch.full((5, 3), 1e3))
        for step in range(3):
            z = latents(seed=step)
            assert book.vectors[2, 0] == 1e3
            codes = book(z).codes
            assert (codes != 2).all()
            torch.manual_seed(step)
            book.accumulate(z, codes)
            book.update()
        rows = z.movedim(1, -1).reshape(-1, 3)
        assert (rows == book.vectors[2]).all(-1).any()
        torch.manual_seed(2)
        assert torch.equal(book.vectors[2].detach(), rows[torch.randint(len(rows), (5,))[2]])
        assert book.unused[2] == 0
        assert (book(z).codes == 2).any()

    def test_never(self, kind: type[VectorQuantizer]) -> None:
        book = started(kind, revive_after=0)
        with torch.no_grad():
            book.restart(torch.tensor([True, False, False, False, False]), torch.full((5, 3), 1e3))
        for step in range(5):
            book.accumulate(latents(seed=step), book(latents(seed=step)).codes)
            book.update()
        assert torch.equal(book.vectors[0].detach(), torch.full((3,), 1e3))

    def test_start(self, kind: type[VectorQuantizer]) -> None:
        book, other, z = kind(5, 3), kind(5, 3), latents()
        book.start(z)
        other.start(z)
        rows = z.movedim(1, -1).reshape(-1, 3)
        assert (book.vectors[:, None] == rows).all(-1).any(1).all()
        assert len(book.vectors.unique(dim=0)) == 5
        assert torch.equal(book.vectors, other.vectors)


@every_kind
def test_densities_of_autocast(kind: type[VectorQuantizer]) -> None:
    book, z = started(kind), latents(200)
    exact = book(z)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = book(z)
        book.accumulate(z, mixed.codes)
    assert torch.equal(mixed.codes, exact.codes)
    torch.testing.assert_close(mixed.commitment, exact.commitment)
    rows = z.movedim(1, -1).reshape(-1, 3)
    sums = torch.stack([rows[exact.codes.flatten() == k].sum(0) for k in range(5)])
    torch.testing.assert_close(book.sums, sums, rtol=1e-5, atol=1e-4)


class TestOneMatrix:
    """SimVQ: fixed vectors under a learned map."""

    def test_one_used_code_moves_all(self) -> None:
        torch.manual_seed(0)
        book, z = SimVQ(20, 3), torch.ones(4, 3, 1)
        before, found = book.vectors.detach().clone(), book(z)
        assert len(found.codes.unique()) == 1
        found.codebook_loss.sum().backward()
        with torch.no_grad():
            for p in book.parameters():
                p.sub_(0.1 * p.grad)
        assert ((book.vectors - before).norm(dim=1) > 1e-3).all()
        assert book(z).codebook_loss.sum() < found.codebook_loss.sum()

    def test_is_a_codebook_of_mapped_vectors(self) -> None:
        book, other = SimVQ(5, 3), Codebook(5, 3)
        assert {name for name, _ in book.named_parameters()} == {"map.weight", "map.bias"}
        with torch.no_grad():
            other.vectors.copy_(book.fixed @ book.map.weight.T + book.map.bias)
        for one, two in zip(book(latents()), other(latents()), strict=True):
            torch.testing.assert_close(one, two)

    def test_starts_where_the_latents_are(self) -> None:
        book, z = SimVQ(500, 3), 7 + torch.tensor([0.1, 1, 3])[:, None, None] * latents(50)
        book.start(z)
        rows = z.movedim(1, -1).reshape(-1, 3)
        torch.testing.assert_close(book.vectors.mean(0), rows.mean(0), rtol=0, atol=0.5)
        torch.testing.assert_close(book.vectors.std(0), rows.std(0), rtol=0.15, atol=0)


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((0, 3), {}, "num_codes and dim must be at least 1, got 0 and 3"),
        ((3, 0), {}, "num_codes and dim must be at least 1, got 3 and 0"),
        ((3, 3), {"revive_after": -1}, "revive_after must be at least 0, got -1"),
        ((3, 3), {"gradient": "around"}, "gradient must be straight or rotation, got 'around'"),
    ],
)
def test_bad_values(args: tuple[int, int], kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Codebook(*args, **kwargs)


def test_bad_decay() -> None:
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\), got 1.0"):
        EMACodebook(3, 3, decay=1.0)
