"""Quantizers without a codebook: levels and signs."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from vae_zoo.nn import BSQ, FSQ, LFQ
from vae_zoo.nn.quantizers.scalar import pack, unpack


class TestFSQ:
    @pytest.mark.parametrize("levels", [[8, 6, 5], [8, 5, 5, 5], [2, 3], [7]])
    def test_every_code_is_one_vector(self, levels: list[int]) -> None:
        num = math.prod(levels)
        book = FSQ(num, len(levels), levels=levels)
        vectors = book.lookup(torch.arange(num)[:, None])
        assert vectors.shape == (num, len(levels), 1)
        assert len(vectors.unique(dim=0)) == num
        assert -1 <= vectors.min() <= vectors.max() <= 1
        every = torch.cartesian_prod(*[torch.linspace(-1, 1, n) for n in levels]).reshape(num, -1)
        distances = torch.cdist(vectors[..., 0], every)
        assert (distances.min(1).values < 1e-3).all()
        assert len(distances.argmin(1).unique()) == num

    @pytest.mark.parametrize("num", [2, 3, 4, 5, 7, 8, 16, 1001, 3000])
    def test_a_line_has_exactly_its_levels(self, num: int) -> None:
        book = FSQ(num, 1, levels=[num])
        z = torch.linspace(-20, 20, 20_001 if num < 100 else 100_001)[:, None]
        found = book(z)
        assert found.codes.unique().tolist() == list(range(num))
        assert (found.codes.diff() >= 0).all()  # in order
        bounded = book.bound(z)
        assert torch.equal(bounded.round().unique().numel() * torch.ones(1), torch.full((1,), float(num)))
        torch.testing.assert_close(found.z, book.lookup(found.codes))

    @pytest.mark.parametrize("num", [4, 5])
    def test_zero_stays(self, num: int) -> None:
        book = FSQ(num, 1, levels=[num])
        torch.testing.assert_close(book.bound(torch.zeros(1, 1)), torch.zeros(1, 1), rtol=0, atol=1e-6)

    def test_codes_of_their_own_vectors(self) -> None:
        """A latent that the bound maps to a level has that level's code, and is not moved."""
        levels = [8, 5, 3]
        book = FSQ(120, 3, levels=levels)
        codes = torch.arange(120)
        digits = unpack(codes, levels)
        inner = ((digits > 0) & (digits < torch.tensor(levels) - 1)).all(1)  # the bound only comes near the others
        half, offset = (torch.tensor(levels) - 1) * 1.001 / 2, torch.tensor([0.5, 0, 0])
        wanted = book.lookup(codes)[inner] * half / 1.001 - offset
        z = torch.atanh((wanted + offset) / half) - torch.atanh(offset / half)
        torch.testing.assert_close(book.bound(z), wanted, rtol=0, atol=1e-4)
        assert torch.equal(book(z).codes, codes[inner])

    def test_the_gradient_of_rounding_is_one(self) -> None:
        book, z = FSQ(40, 2, levels=[8, 5]), torch.randn(6, 2, 3, requires_grad=True)
        found, g = book(z), torch.randn(6, 2, 3)
        (given,) = torch.autograd.grad((found.z * g).sum(), z)
        bounded = book.bound(z) / torch.tensor([3.5, 2.0])[:, None]
        (wanted,) = torch.autograd.grad((bounded * g).sum(), z)
        torch.testing.assert_close(given, wanted)
        assert found.commitment.tolist() == found.codebook_loss.tolist() == [0] * 6

    def test_codes_are_those_of_float32(self) -> None:
        book, z = FSQ(1000, 4, levels=[8, 5, 5, 5]), torch.randn(50, 4, 3)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = book(z)
        assert torch.equal(mixed.codes, book(z).codes)
        assert mixed.z.dtype == torch.float32
        half = FSQ(1000, 4, levels=[8, 5, 5, 5]).bfloat16()
        assert torch.equal(half(z).codes, mixed.codes)
        assert torch.equal(half.lookup(mixed.codes), book.lookup(mixed.codes))

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            ((40, 2, [8, 4]), r"levels \[8, 4\] are 32 codes of 2 dimensions, got num_codes 40 and dim 2"),
            ((40, 3, [8, 5]), r"levels \[8, 5\] are 40 codes of 2 dimensions, got num_codes 40 and dim 3"),
            ((8, 2, [8, 1]), r"levels must be at least 2 each, got \[8, 1\]"),
        ],
    )
    def test_bad_values(self, args: tuple[int, int, list[int]], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            FSQ(*args[:2], levels=args[2])


def enumerated(z: Tensor, size: float, temperature: float) -> tuple[Tensor, Tensor]:
    """Entropies from the distances of rows (N, D) to all 2^D vectors."""
    every = size * torch.tensor(list(itertools.product([-1.0, 1.0], repeat=z.shape[1])), dtype=z.dtype)
    p = torch.softmax(-torch.cdist(z, every).square() / temperature, 1)
    return torch.special.entr(p).sum(1).mean(), torch.special.entr(p.mean(0)).sum()


class TestLFQ:
    @pytest.mark.parametrize("kind", [LFQ, BSQ])
    @pytest.mark.parametrize("temperature", [0.3, 1.0])
    def test_entropies_are_those_of_all_codes(self, kind: type[LFQ], temperature: float) -> None:
        book, z = kind(16, 4, temperature=temperature), torch.randn(20, 4, 3, dtype=torch.float64)
        rows = book.project(z).movedim(1, -1).reshape(-1, 4)
        torch.testing.assert_close(
            torch.stack(book.entropies(book.project(z))),
            torch.stack(enumerated(rows, book.size, temperature)),
        )

    def test_blocks_of_bits_are_an_upper_bound(self) -> None:
        z = torch.randn(40, 1, 3, dtype=torch.float64).expand(-1, 6, -1) + 0.3 * torch.randn(40, 6, 3)
        joint = [LFQ(64, 6, joint_bits=bits).entropies(z)[1].item() for bits in (6, 3, 1)]
        assert joint == sorted(joint)
        assert joint[2] > joint[0] + 0.5
        means = torch.sigmoid(4 * z).mean((0, 2))
        bits = torch.special.entr(means) + torch.special.entr(1 - means)
        assert joint[2] == pytest.approx(bits.sum().item())

    def test_signs_of_the_terms(self) -> None:
        """Lower for latents that are decided, and for codes that are used equally."""
        every = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)))[..., None]
        loss = {name: LFQ(8, 3)(z).codebook_loss.mean().item() for name, z in
                {"used": 3 * every, "undecided": 0.01 * every, "one": 3 * every[:1]}.items()}  # fmt: skip
        assert loss["used"] == pytest.approx(-0.1 * math.log(8), abs=1e-3)
        assert loss["undecided"] == pytest.approx(0, abs=1e-3)
        assert loss["one"] == pytest.approx(0, abs=1e-3)
        only = LFQ(8, 3, gamma=0.0)
        assert only(0.01 * every).codebook_loss.mean().item() == pytest.approx(0.1 * math.log(8), abs=1e-3)

    def test_a_step_on_the_entropies_lowers_them(self) -> None:
        torch.manual_seed(0)
        book, z = LFQ(16, 4), (0.3 + 0.2 * torch.randn(30, 4, 2)).requires_grad_()
        before = book(z).codebook_loss.mean()
        (slope,) = torch.autograd.grad(before, z)
        assert book(z - slope).codebook_loss.mean() < before

    @pytest.mark.parametrize("kind", [LFQ, BSQ])
    def test_codes_are_signs(self, kind: type[LFQ]) -> None:
        book, z = kind(32, 5), torch.randn(7, 5, 2, 3)
        found = book(z)
        vectors = book.lookup(found.codes)
        assert torch.equal(vectors > 0, z > 0)
        torch.testing.assert_close(found.z, vectors)
        assert torch.equal(vectors.abs(), torch.full_like(vectors, 1.0 if kind is LFQ else 5**-0.5))
        assert len(book.lookup(torch.arange(32)[:, None]).unique(dim=0)) == 32
        square = (book.project(z) - vectors).square().sum((1, 2, 3))
        torch.testing.assert_close(found.commitment, square)

    def test_zero_is_negative(self) -> None:
        assert LFQ(4, 2)(torch.zeros(1, 2, 1)).codes.tolist() == [[0]]

    def test_the_sphere(self) -> None:
        book, z = BSQ(8, 3), torch.randn(5, 3, 2)
        torch.testing.assert_close(book.project(z).norm(dim=1), torch.ones(5, 2))
        for one, two in zip(book(z), book(9 * z), strict=True):
            torch.testing.assert_close(one, two)

    @pytest.mark.parametrize("scale", [1.0, 1e3])
    def test_gradients_are_finite(self, scale: float) -> None:
        z = (scale * torch.randn(4, 3, 2)).requires_grad_()
        found, g = LFQ(8, 3)(z), torch.randn(4, 3, 2)
        assert torch.equal(torch.autograd.grad((found.z * g).sum(), z, retain_graph=True)[0], g)
        assert torch.autograd.grad(found.codebook_loss.sum(), z)[0].isfinite().all()

    @pytest.mark.parametrize(
        ("kwargs", "message"),
        [
            ({"num_codes": 9}, "3 signs are 8 codes, got num_codes 9"),
            ({"entropy_weight": -1.0}, "must be at least 0, and temperature positive, got -1.0, 1.0 and 1.0"),
            ({"gamma": math.nan}, "must be at least 0, and temperature positive, got 0.1, nan and 1.0"),
            ({"temperature": 0.0}, "must be at least 0, and temperature positive, got 0.1, 1.0 and 0.0"),
            ({"joint_bits": 0}, "joint_bits must be at least 1, got 0"),
        ],
    )
    def test_bad_values(self, kwargs: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            LFQ(**{"num_codes": 8, "dim": 3, **kwargs})


def test_numbers_of_mixed_radix() -> None:
    codes = torch.arange(30).reshape(2, 15)
    digits = unpack(codes, [2, 3, 5])
    assert digits.shape == (2, 3, 15)
    assert digits[1, :, 14].tolist() == [1, 2, 4]
    assert torch.equal(pack(digits, [2, 3, 5]), codes)
