"""Quantizers with several codes at each place."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from vae_zoo.nn import FSQ, LFQ, Codebook, CodePrior, EMACodebook, GroupedQuantizer, Quantizer, ResidualQuantizer


def latents(num: int = 40, dim: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(num, dim, 2, 3, generator=torch.Generator().manual_seed(seed))


def started(kind: Any = ResidualQuantizer, num_codes: int = 8, **kwargs: Any) -> Any:
    torch.manual_seed(0)
    book = kind(num_codes, 4, **kwargs)
    book.start(latents())
    return book


def square(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().flatten(1).sum(1)


class TestResidual:
    @pytest.mark.parametrize("shared", [False, True])
    def test_each_level_is_nearest_to_what_is_left(self, shared: bool) -> None:
        book, z = started(depth=3, shared=shared, codebook=Codebook), latents(seed=1)
        found, rest, commitment = book(z), z, torch.zeros(40)
        assert found.codes.shape == (40, 2, 3, 3)
        assert len(book.books) == (1 if shared else 3)
        for level, vectors in enumerate(v.vectors.detach() for v in book.levels):
            rows = rest.movedim(1, -1)
            codes = torch.cdist(rows.reshape(-1, 4), vectors).argmin(1).reshape(40, 2, 3)
            assert torch.equal(found.codes[..., level], codes)
            rest = (rows - vectors[codes]).movedim(-1, 1)
            commitment = commitment + rest.square().flatten(1).sum(1)
        torch.testing.assert_close(found.z, z - rest)
        torch.testing.assert_close(book.lookup(found.codes), z - rest)
        torch.testing.assert_close(found.commitment, commitment)
        torch.testing.assert_close(found.codebook_loss, commitment)

    def test_the_error_falls_with_every_level(self) -> None:
        errors = []
        for depth in (1, 2, 4, 6):
            book = started(depth=depth)
            errors.append(square(book(latents()).z, latents()).mean().item())
        assert errors == sorted(errors, reverse=True)
        assert errors[-1] < 0.2 * errors[0]

    def test_one_level_is_the_codebook(self) -> None:
        one, two = started(depth=1, codebook=Codebook), Codebook(8, 4)
        two.load_state_dict({k.removeprefix("books.0."): v for k, v in one.state_dict().items()})
        a, b = one(latents()), two(latents())
        assert torch.equal(a.codes[..., 0], b.codes)
        for x, y in zip(a[2:], b[2:], strict=True):
            torch.testing.assert_close(x, y)

    def test_the_gradient_does_not_grow_with_the_depth(self) -> None:
        """A sum of levels that each pass it on would give it once a level."""
        z, g = latents().requires_grad_(), latents(seed=2)
        assert torch.equal(torch.autograd.grad((started(depth=4)(z).z * g).sum(), z)[0], g)

    def test_dropout_keeps_the_first_levels(self) -> None:
        book, z = started(depth=4, dropout=0.5).train(), latents(400)
        found = book(z)
        parts = [torch.stack([b.lookup(found.codes[..., n]) for n, b in enumerate(book.levels[:k])]).sum(0)
                 for k in (1, 2, 3, 4)]  # fmt: skip
        gaps = torch.stack([(found.z - part).flatten(1).abs().amax(1) for part in parts])
        assert (gaps.amin(0) < 1e-5).all()
        counts = torch.bincount(gaps.argmin(0), minlength=4) / 400
        torch.testing.assert_close(counts, torch.tensor([1, 1, 1, 5]) / 8, rtol=0, atol=0.07)
        book.eval()
        whole = book(z)
        torch.testing.assert_close(whole.z, parts[-1])
        assert torch.equal(whole.codes, found.codes)
        assert (found.commitment < whole.commitment + 1e-4).all()

    @pytest.mark.parametrize("shared", [False, True])
    def test_averages_follow_what_each_level_sees(self, shared: bool) -> None:
        make = partial(EMACodebook, decay=0.5, revive_after=0)
        book, z = started(depth=2, shared=shared, codebook=make), latents(seed=1)
        found = book(z)
        first = book.levels[0].lookup(found.codes[..., 0])
        sees = [z, z - first]
        wanted = [make(8, 4) for _ in book.books]
        for one, two in zip(wanted, book.books, strict=True):
            one.load_state_dict(two.state_dict())
        parts = (
            [(torch.cat(sees), torch.cat(found.codes.unbind(-1)))]
            if shared
            else zip(sees, found.codes.unbind(-1), strict=True)
        )
        for one, (rows, codes) in zip(wanted, parts, strict=True):
            one.accumulate(rows, codes)
            one.update()
        book.accumulate(z, found.codes)
        book.update()
        for one, two in zip(wanted, book.books, strict=True):
            torch.testing.assert_close(one.vectors, two.vectors)
        assert square(book(z).z, z).mean() < square(found.z, z).mean()

    def test_norm_decay(self) -> None:
        book, z = started(depth=3, codebook=Codebook, norm_decay=1.5), latents()
        plain = started(depth=3, codebook=Codebook)
        plain.load_state_dict(book.state_dict())
        norms = [b.vectors.norm(dim=1).mean() for b in book.levels]
        wanted = sum(max(0.0, (1.5 * b / a - 1).item()) ** 2 for a, b in pairwise(norms))
        assert wanted > 0
        extra = book(z).codebook_loss - plain(z).codebook_loss
        torch.testing.assert_close(extra, torch.full((40,), wanted), rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize(
        ("kwargs", "error", "message"),
        [
            ({"depth": 0}, ValueError, "depth must be at least 1, .* got 0, 0.0 and 0.0"),
            ({"dropout": 1.5}, ValueError, r"dropout lie in \[0, 1\] .* got 4, 1.5 and 0.0"),
            ({"norm_decay": 2.0}, ValueError, "norm_decay needs a Codebook of each level, got EMACodebook"),
            ({"norm_decay": 2.0, "shared": True}, ValueError, "norm_decay needs .*, got one EMACodebook for all"),
            ({"gradient": "none"}, ValueError, "gradient must be straight or rotation, got 'none'"),
            (
                {"codebook": LFQ, "num_codes": 16},
                TypeError,
                "must have vectors that follow the latents, got LFQ",
            ),
        ],
    )
    def test_bad_values(self, kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
        with pytest.raises(error, match=message):
            ResidualQuantizer(**{"num_codes": 8, "dim": 4, **kwargs})


class TestGroups:
    def test_each_has_its_own_codebook(self) -> None:
        book, z = started(GroupedQuantizer, groups=2, codebook=Codebook), latents()
        found = book(z)
        parts = [b(part) for b, part in zip(book.books, z.split(2, 1), strict=True)]
        assert torch.equal(found.z, torch.cat([part.z for part in parts], 1))
        assert torch.equal(found.codes, torch.stack([part.codes for part in parts], -1))
        torch.testing.assert_close(found.commitment, square(found.z, z))
        torch.testing.assert_close(found.codebook_loss, square(found.z, z))

    def test_one_group_is_the_codebook(self) -> None:
        one, two = started(GroupedQuantizer, groups=1, codebook=Codebook), Codebook(8, 4)
        two.load_state_dict({k.removeprefix("books.0."): v for k, v in one.state_dict().items()})
        for x, y in zip(one(latents()), two(latents()), strict=True):
            torch.testing.assert_close(x.squeeze(-1) if x.dtype == torch.long else x, y)

    def test_dimensions_that_do_not_divide(self) -> None:
        book = GroupedQuantizer(8, 5, groups=3)
        assert [b.dim for b in book.books] == [2, 2, 1]
        assert book.lookup(book(latents(dim=5)).codes).shape == (40, 5, 2, 3)

    @pytest.mark.parametrize("groups", [0, 5])
    def test_bad_values(self, groups: int) -> None:
        with pytest.raises(ValueError, match=rf"groups must lie in 1 \.\. 4, the dimensions, got {groups}"):
            GroupedQuantizer(8, 4, groups=groups)
        with pytest.raises(TypeError, match="codebook must make a Quantizer, got CodePrior"):
            GroupedQuantizer(8, 4, codebook=lambda *_: CodePrior((2,), 3))


NESTED = [
    partial(ResidualQuantizer, depth=3),
    partial(ResidualQuantizer, depth=3, shared=True),
    GroupedQuantizer,
    partial(GroupedQuantizer, codebook=partial(ResidualQuantizer, depth=3)),
    partial(GroupedQuantizer, codebook=partial(GroupedQuantizer, codebook=Codebook)),
    partial(ResidualQuantizer, depth=2, codebook=partial(GroupedQuantizer, groups=3)),
    partial(GroupedQuantizer, codebook=partial(FSQ, levels=[4, 2])),
    partial(GroupedQuantizer, groups=4, codebook=partial(FSQ, levels=[8])),
]


@pytest.mark.parametrize("kind", NESTED)
class TestEvery:
    def test_codes_are_all_there_is(self, kind: Any) -> None:
        book: Quantizer = started(kind).eval()
        found = book(latents())
        assert found.codes.shape == (40, 2, 3, *book.code_shape)
        torch.testing.assert_close(book.lookup(found.codes), found.z)
        usage = book.usage(found.codes).unflatten(0, (-1, book.num_codes))
        every = found.codes.reshape(240, -1)
        assert usage.shape == (every.shape[1], book.num_codes)
        for n, row in enumerate(usage):
            torch.testing.assert_close(row, every[:, n].bincount(minlength=book.num_codes) / 240)

    def test_accumulated_batches_are_one(self, kind: Any) -> None:
        one, two, z = started(kind), started(kind), latents()
        one.accumulate(z, one(z).codes)
        for part in z.split(10):
            two.accumulate(part, two(part).codes)
        one.update()
        two.update()
        for key, value in one.state_dict().items():
            torch.testing.assert_close(two.state_dict()[key], value)

    def test_nothing_moves_until_the_step(self, kind: Any) -> None:
        book, z = started(kind), latents()
        before = {k: v.clone() for k, v in book.state_dict().items()}
        book.accumulate(z, book(z).codes)
        book.reset_stats()
        book.update()
        for key, value in book.state_dict().items():
            torch.testing.assert_close(value, before[key])
