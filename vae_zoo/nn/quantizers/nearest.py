"""Vector quantisation to the nearest of a set of vectors.

This is our own implementation because the usual library depends on six packages, and updates its codes within
the forward pass, which is wrong with gradient accumulation and in a compiled graph over several processes.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, distributed
from torch.nn.functional import embedding

from vae_zoo.functional import exact
from vae_zoo.nn.quantizers.base import Quantized, Quantizer, rows_of
from vae_zoo.nn.quantizers.gradients import Gradient, check_gradient, passed


class VectorQuantizer(Quantizer):
    """A codebook: the code of a latent is that of the nearest code vector.

    A code that has not been used for a while is dead: it is reset to a random vector of the last batch.

    Args:
        num_codes: Number of code vectors.
        dim: Dimensions of each, D.
        revive_after: Steps without use after which a code is reset; 0 for never.
        gradient: How the latents get the gradient of the vectors of their codes: unchanged (``straight``), or turned
            (``rotation``), see :func:`~vae_zoo.nn.quantizers.gradients.rotated`.

    Raises:
        ValueError: If a size is less than 1, revive_after negative, or there is no such gradient.
    """

    adapts = True

    vectors: Tensor
    counts: Tensor
    sums: Tensor
    candidates: Tensor
    unused: Tensor

    def __init__(self, num_codes: int, dim: int, *, revive_after: int = 100, gradient: Gradient = "straight") -> None:
        super().__init__(num_codes, dim)
        if revive_after < 0:
            raise ValueError(f"revive_after must be at least 0, got {revive_after}.")
        check_gradient(gradient)
        self.revive_after, self.gradient = revive_after, gradient
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
        rows = rows_of(z)
        with torch.autocast(z.device.type, enabled=False):
            vectors = exact(self.vectors.detach())
            codes = (vectors.square().sum(-1) - 2 * rows.detach() @ vectors.T).argmin(-1)
        codes = codes.unflatten(0, (len(z), *z.shape[2:]))
        picked, z = self.lookup(codes), exact(z)
        commitment = (z - picked.detach()).square().flatten(1).sum(-1)
        codebook_loss = (picked - z.detach()).square().flatten(1).sum(-1)
        codebook_loss = codebook_loss if picked.requires_grad else torch.zeros_like(codebook_loss)
        return Quantized(passed(z, picked, self.gradient), codes, codebook_loss, commitment)

    def lookup(self, codes: Tensor) -> Tensor:
        """Code vectors (B, D, *grid) of codes (B, *grid)."""
        return embedding(codes, exact(self.vectors)).movedim(-1, 1)

    @torch.no_grad()
    def accumulate(self, z: Tensor, codes: Tensor) -> None:
        with torch.autocast(z.device.type, enabled=False):
            rows, one_hot = rows_of(z), self._one_hot(codes)
            self.counts.add_(one_hot.sum(0))
            self.sums.add_((one_hot.to(rows.dtype).T @ rows).to(self.sums.dtype))
            index = torch.randint(len(rows), (self.num_codes,), device=z.device)
            self.candidates.copy_(rows[index])

    @torch.no_grad()
    def update(self) -> None:
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
        """Initialise every code vector with one of the latents (N, D, \\*grid), the same ones on every process."""
        rows = rows_of(z)
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        index = order[torch.arange(self.num_codes) % len(rows)].to(rows.device)
        self.restart(torch.ones_like(self.unused, dtype=torch.bool), rows[index].to(self.vectors.dtype))

    def reset_stats(self) -> None:
        self.counts.zero_()
        self.sums.zero_()

    def _one_hot(self, codes: Tensor) -> Tensor:
        return (codes.reshape(-1, 1) == torch.arange(self.num_codes, device=codes.device)).to(self.unused.dtype)
