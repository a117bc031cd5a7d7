"""Codebooks: vector quantisation to the nearest of a learned set of vectors.

This is our own implementation because the usual library depends on six packages, and updates its codes within
the forward pass, which is wrong with gradient accumulation and in a compiled graph over several processes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import embedding


class Quantized(NamedTuple):
    """Quantised latents (B, D, \\*grid).

    Args:
        z: The nearest code vectors, (B, D, \\*grid), with a straight-through gradient to the latents.
        codes: Their indices, (B, \\*grid).
        pull: Squared distance of the code vectors from the latents, with gradient to the former, (B,); 0 for moving
            averages.
        commitment: The same with gradient to the latents, (B,).
    """

    z: Tensor
    codes: Tensor
    codebook_loss: Tensor
    commitment: Tensor


class Quantizer(nn.Module, ABC):
    """A codebook. Statistics of training steps are kept until :meth:`update`, called once after the optimizer's step.

    So gradients can be accumulated over several batches, and processes share their statistics. A code that has not been
    used for a while is dead: it is reset to a random vector of the last batch.

    Args:
        num_codes: Number of code vectors.
        dim: Dimensions of each, D.
        revive_after: Steps without use after which a code is reset; 0 for never.

    Raises:
        ValueError: If a size is less than 1, or revive_after negative.
    """

    vectors: Tensor
    counts: Tensor
    sums: Tensor
    candidates: Tensor
    unused: Tensor

    def __init__(self, num_codes: int, dim: int, *, revive_after: int = 100) -> None:
        super().__init__()
        if min(num_codes, dim) < 1 or revive_after < 0:
            raise ValueError(
                "num_codes and dim must be at least 1 and revive_after at least 0, "
                f"got {num_codes}, {dim} and {revive_after}."
            )
        self.num_codes, self.dim, self.revive_after = num_codes, dim, revive_after
        self.init_vectors(torch.empty(num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))
        self.register_buffer("unused", torch.zeros(num_codes))
        self.register_buffer("counts", torch.zeros(num_codes), persistent=False)
        self.register_buffer("sums", torch.zeros(num_codes, dim), persistent=False)
        self.register_buffer("candidates", torch.zeros(num_codes, dim), persistent=False)

    @abstractmethod
    def init_vectors(self, vectors: Tensor) -> None:
        """Register the initial code vectors, (num_codes, D)."""

    def ema_update(self) -> None:
        """Update the code vectors from statistics, if they are not trained by gradient."""

    def restart(self, which: Tensor, vectors: Tensor) -> None:
        """Replace the code vectors for which ``which``, (num_codes,), is true."""
        self.vectors.copy_(torch.where(which[:, None], vectors, self.vectors))

    def forward(self, z: Tensor) -> Quantized:
        """Quantise latents (B, D, *grid)."""
        rows = _rows(z)
        with torch.autocast(z.device.type, enabled=False):
            vectors = _exact(self.vectors.detach())
            codes = (vectors.square().sum(-1) - 2 * rows.detach() @ vectors.T).argmin(-1)
        codes = codes.unflatten(0, (len(z), *z.shape[2:]))
        picked, z = self.lookup(codes), _exact(z)
        commitment = (z - picked.detach()).square().flatten(1).sum(-1)
        codebook_loss = (picked - z.detach()).square().flatten(1).sum(-1)
        codebook_loss = codebook_loss if picked.requires_grad else torch.zeros_like(codebook_loss)
        return Quantized(z + (picked - z).detach(), codes, codebook_loss, commitment)

    def lookup(self, codes: Tensor) -> Tensor:
        """Code vectors (B, D, *grid) of codes (B, *grid)."""
        return embedding(codes, _exact(self.vectors)).movedim(-1, 1)

    def usage(self, codes: Tensor) -> Tensor:
        """Relative frequency of each code in codes (B, \\*grid), (num_codes,); can be averaged over batches."""
        return self._one_hot(codes).mean(0)

    @torch.no_grad()
    def accumulate(self, z: Tensor, codes: Tensor) -> None:
        """Record the latents (B, D, *grid) of a training step, and their codes (B, *grid)."""
        with torch.autocast(z.device.type, enabled=False):
            rows, one_hot = _rows(z), self._one_hot(codes)
            self.counts.add_(one_hot.sum(0))
            self.sums.add_((one_hot.to(rows.dtype).T @ rows).to(self.sums.dtype))
            index = torch.randint(len(rows), (self.num_codes,), device=z.device)
            self.candidates.copy_(rows[index])

    @torch.no_grad()
    def update(self) -> None:
        """Update the codes from the records of all processes since the last update, and reset dead ones."""
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(self.counts)
            distributed.all_reduce(self.sums)
            distributed.broadcast(self.candidates, 0)
        seen = self.counts.sum() > 0
        self.ema_update()
        self.unused.copy_(torch.where(self.counts > 0, 0.0, self.unused + seen))
        if self.revive_after:
            dead = self.unused >= self.revive_after
            self.restart(dead, self.candidates)
            self.unused.masked_fill_(dead, 0.0)
        self.reset_stats()

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        """Initialise every code with one of the latents (N, D, *grid), the same ones on every process."""
        rows = _rows(z)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        index = order[torch.arange(self.num_codes) % len(rows)].to(rows.device)
        self.restart(torch.ones_like(self.unused, dtype=torch.bool), rows[index].to(self.vectors.dtype))

    def reset_stats(self) -> None:
        """Clear the records since the last update."""
        self.counts.zero_()
        self.sums.zero_()

    def _one_hot(self, codes: Tensor) -> Tensor:
        return (codes.reshape(-1, 1) == torch.arange(self.num_codes, device=codes.device)).to(self.unused.dtype)


def _exact(t: Tensor) -> Tensor:
    return t if t.dtype == torch.float64 else t.float()


def _rows(z: Tensor) -> Tensor:
    """Vectors (N, D) of latents (B, D, *grid)."""
    return _exact(z.movedim(1, -1).reshape(-1, z.shape[1]))
