"""Quantizers with several codes at each place, composed of others."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from vae_zoo.functional import exact
from vae_zoo.nn.quantizers.base import Quantized, Quantizer, rows_of
from vae_zoo.nn.quantizers.codebooks import Codebook, EMACodebook
from vae_zoo.nn.quantizers.gradients import Gradient, check_gradient, passed
from vae_zoo.typing import Shape

_TINY = 1e-12
"""Norm below which the vectors of a level have none to compare with."""


def levels_kept(depth: int, dropout: float, z: Tensor) -> Tensor:
    """Whether an example is decoded from a level, (Q, B), for latents (B, ...).

    Args:
        depth: Number of levels Q.
        dropout: Probability that an example is decoded from a random number of levels, 1 to Q, and not from all.
        z: Latents of the examples.
    """
    level = torch.arange(depth, device=z.device)[:, None]
    if not dropout:
        return torch.ones_like(level, dtype=z.dtype).expand(-1, len(z))
    num = torch.randint(1, depth + 1, (len(z),), device=z.device)
    num = torch.where(torch.rand(len(z), device=z.device) < dropout, num, depth)
    return (level < num).to(z.dtype)


def norm_penalty(vectors: Sequence[Tensor], decay: float) -> Tensor:
    r"""The penalty :math:`\sum_q \max(0, γ n_q / n_{q-1} - 1)^2` on the mean norms n of the vectors of levels.

    References:
        | Hierarchical Sketch Induction for Paraphrase Generation (Hosking et al., 2022)
        | https://arxiv.org/abs/2203.03463

    Args:
        vectors: Those of each level, (num_codes, D).
        decay: Factor γ.
    """
    norms = torch.stack([level.norm(dim=1).mean() for level in vectors])
    return (decay * norms[1:] / norms[:-1].clamp_min(_TINY) - 1).relu().square().sum()


class _Composed(Quantizer):
    """Base of quantizers that consist of others, ``books``, and give the codes of each on an axis of their own."""

    books: nn.ModuleList
    inner: Shape

    def update(self) -> None:
        for book in self.books:
            book.update()  # type: ignore[operator]

    def reset_stats(self) -> None:
        for book in self.books:
            book.reset_stats()  # type: ignore[operator]

    @property
    def _axis(self) -> int:
        return -1 - len(self.inner)


class ResidualQuantizer(_Composed):
    r"""Several codebooks, each for the part of the latent that the previous ones leave.

    .. math:: r_1 = z, \quad e_q \text{ nearest to } r_q, \quad r_{q+1} = r_q - e_q, \quad e = \sum_q e_q

    With K codes and Q levels, a place has K^Q vectors at the cost of Q searches among K, and its codes are of shape
    (depth, \*code_shape). The losses are sums over levels. Dropout decodes some training examples from their first
    levels only, so that these alone carry as much as they can.

    References:
        | SoundStream: An End-to-End Neural Audio Codec (Zeghidour et al., 2021)
        | https://arxiv.org/abs/2107.03312
        | Autoregressive Image Generation using Residual Quantization (Lee et al., 2022)
        | https://arxiv.org/abs/2203.01941

    Args:
        num_codes: Number of code vectors of each level.
        dim: Dimensions of each, D.
        depth: Number of levels Q.
        codebook: Class of the codebook of a level.
        shared: Whether all levels share one codebook.
        dropout: Probability that a training example is decoded from a random number of levels, 1 to Q.
        norm_decay: Factor γ of the penalty :math:`\sum_q \max(0, γ n_q / n_{q-1} - 1)^2` on the mean norms n of the
            vectors of a level, for a :class:`Codebook`; 0 for none. From Hosking et al. (2022).
        gradient: Gradient of the latents: unchanged (``straight``), or turned (``rotation``); by default as of the
            codebook.

    Raises:
        ValueError: If depth is less than 1, dropout lies outside [0, 1], norm_decay is negative, not finite or given
            for anything but a Codebook of each level, or there is no such gradient.
        TypeError: If codebook does not make a Quantizer whose vectors follow the latents.
    """

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        depth: int = 4,
        codebook: Callable[[int, int], Quantizer] = EMACodebook,
        shared: bool = False,
        dropout: float = 0.0,
        norm_decay: float = 0.0,
        gradient: Gradient | None = None,
    ) -> None:
        super().__init__(num_codes, dim)
        if depth < 1 or not 0 <= dropout <= 1 or not 0 <= norm_decay < math.inf:
            raise ValueError(
                "depth must be at least 1, dropout lie in [0, 1] and norm_decay be at least 0 and finite, "
                f"got {depth}, {dropout} and {norm_decay}."
            )
        self.depth, self.shared, self.dropout, self.norm_decay = depth, shared, dropout, norm_decay
        self.books = nn.ModuleList(_made(codebook, num_codes, dim) for _ in range(1 if shared else depth))
        first: Quantizer = self.books[0]  # type: ignore[assignment]
        if not first.adapts:
            raise TypeError(f"codebook must have vectors that follow the latents, got {type(first).__name__}.")
        self.gradient: Gradient = gradient or getattr(first, "gradient", None) or "straight"
        check_gradient(self.gradient)
        self.inner, self.code_shape, self.adapts = first.code_shape, (depth, *first.code_shape), True
        if norm_decay and (shared or not isinstance(first, Codebook)):
            what = f"one {type(first).__name__} for all" if shared else type(first).__name__
            raise ValueError(f"norm_decay needs a Codebook of each level, got {what}.")

    @property
    def levels(self) -> list[Quantizer]:
        """The codebook of each level."""
        return [self.books[0 if self.shared else n] for n in range(self.depth)]  # type: ignore[misc]

    def forward(self, z: Tensor) -> Quantized:
        z = rest = exact(z)
        kept = levels_kept(self.depth, self.dropout if self.training else 0.0, z)
        e, codebook_loss, commitment, codes = torch.zeros_like(z), self._norm_penalty(z), z.new_zeros(len(z)), []
        for book, keep in zip(self.levels, kept, strict=True):
            found = book(rest)
            picked = book.lookup(found.codes).detach()
            rest = rest - picked
            e = e + keep.reshape(-1, *[1] * (z.ndim - 1)) * picked
            codebook_loss = codebook_loss + keep * found.codebook_loss
            commitment = commitment + keep * found.commitment
            codes.append(found.codes)
        return Quantized(passed(z, e, self.gradient), torch.stack(codes, self._axis), codebook_loss, commitment)

    def lookup(self, codes: Tensor) -> Tensor:
        parts = zip(self.levels, codes.unbind(self._axis), strict=True)
        return torch.stack([book.lookup(code) for book, code in parts]).sum(0)

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        """Initialise the codebook of each level from what the previous ones leave, each from other latents."""
        rest = rows_of(z)
        for n, book in enumerate(self.levels[: len(self.books)]):
            order = torch.randperm(len(rest), generator=torch.Generator().manual_seed(n))
            rest = rest[order.to(rest.device)]  # nothing is left of the latents that a level has started from
            book.start(rest)
            rest = rest - book.lookup(book(rest).codes)

    @torch.no_grad()
    def accumulate(self, z: Tensor, codes: Tensor) -> None:
        rests = [exact(z)]
        levels = codes.unbind(self._axis)
        for book, code in zip(self.levels, levels, strict=True):
            rests.append(rests[-1] - book.lookup(code))
        if self.shared:
            self.books[0].accumulate(torch.cat(rests[:-1]), torch.cat(levels))  # type: ignore[operator]
            return
        for book, rest, code in zip(self.levels, rests[:-1], levels, strict=True):
            book.accumulate(rest, code)

    def _norm_penalty(self, z: Tensor) -> Tensor:
        if not self.norm_decay:
            return z.new_zeros(len(z))
        vectors = [exact(book.vectors) for book in self.levels]  # type: ignore[arg-type]
        return norm_penalty(vectors, self.norm_decay).expand(len(z))


class GroupedQuantizer(_Composed):
    """A quantizer for each of several groups of dimensions: product quantisation.

    With K codes and G groups, a place has K^G vectors at the cost of G searches among K. The codes of a place are
    (groups, \\*code_shape). Groups differ by at most one dimension.

    References:
        | Product Quantization for Nearest Neighbor Search (Jégou et al., 2011)
        | https://doi.org/10.1109/TPAMI.2010.57

    Args:
        num_codes: Number of codes of each group.
        dim: Dimensions of all groups, D.
        groups: Number of groups G.
        codebook: Class of the quantizer of a group.
        gradient: Gradient of the latents: unchanged (``straight``), or turned (``rotation``); by default as of the
            codebook.

    Raises:
        ValueError: If groups is less than 1 or more than dim, or there is no such gradient.
        TypeError: If codebook does not make a Quantizer.
    """

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        groups: int = 2,
        codebook: Callable[[int, int], Quantizer] = EMACodebook,
        gradient: Gradient | None = None,
    ) -> None:
        super().__init__(num_codes, dim)
        if not 1 <= groups <= dim:
            raise ValueError(f"groups must lie in 1 .. {dim}, the dimensions, got {groups}.")
        self.groups = groups
        dims = [len(part) for part in torch.arange(dim).tensor_split(groups)]
        made = codebook if gradient is None else partial(codebook, gradient=gradient)  # type: ignore[call-arg]
        self.books = nn.ModuleList(_made(made, num_codes, part) for part in dims)
        first: Quantizer = self.books[0]  # type: ignore[assignment]
        self.gradient = getattr(first, "gradient", "straight")
        self.inner, self.adapts = first.code_shape, first.adapts
        self.code_shape = (groups, *self.inner)

    def forward(self, z: Tensor) -> Quantized:
        found = [book(part) for book, part in self._parts(z)]
        zs, codes, codebook_loss, commitment = zip(*found, strict=True)
        losses = torch.stack(codebook_loss).sum(0), torch.stack(commitment).sum(0)
        return Quantized(torch.cat(zs, 1), torch.stack(codes, self._axis), *losses)

    def lookup(self, codes: Tensor) -> Tensor:
        return torch.cat([b.lookup(c) for b, c in zip(self.books, codes.unbind(self._axis), strict=True)], 1)  # type: ignore[operator]

    def start(self, z: Tensor) -> None:
        for book, part in self._parts(z):
            book.start(part)

    def accumulate(self, z: Tensor, codes: Tensor) -> None:
        for (book, part), code in zip(self._parts(z), codes.unbind(self._axis), strict=True):
            book.accumulate(part, code)

    def _parts(self, z: Tensor) -> list[tuple[Quantizer, Tensor]]:
        return list(zip(self.books, z.tensor_split(self.groups, 1), strict=True))  # type: ignore[arg-type]


def _made(codebook: Callable[[int, int], Quantizer], num_codes: int, dim: int) -> Quantizer:
    made = codebook(num_codes, dim)
    if not isinstance(made, Quantizer):
        raise TypeError(f"codebook must make a Quantizer, got {type(made).__name__}.")
    return made
