"""The base class of quantizers."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vae_zoo.functional import exact
from vae_zoo.typing import Shape


class Quantized(NamedTuple):
    """Quantised latents (B, D, \\*grid).

    Args:
        z: Vectors of the codes, (B, D, \\*grid), with a gradient to the latents.
        codes: The codes, (B, \\*grid, \\*code_shape).
        codebook_loss: What the quantizer adds to the objective for itself, (B,): the squared distance of learned code
            vectors from the latents, or an entropy; 0 for moving averages and fixed codes.
        commitment: Squared distance of the latents from the vectors of their codes, with gradient to the former, (B,).
    """

    z: Tensor
    codes: Tensor
    codebook_loss: Tensor
    commitment: Tensor


class Quantizer(nn.Module, ABC):
    """Turns latents (B, D, \\*grid) into codes (B, \\*grid, \\*code_shape), each one of ``num_codes``, and back.

    A training step is recorded by :meth:`accumulate` and takes effect in :meth:`update`, which is called once after the
    optimizer's step: gradients can be accumulated over several batches, and processes share their statistics. A
    quantizer without statistics needs neither.

    Args:
        num_codes: Number of values of each code.
        dim: Dimensions of the latent of a place, D.

    Raises:
        ValueError: If a size is less than 1.
    """

    code_shape: Shape = ()
    """Shape of the codes of one place: () for a single code."""

    adapts: bool = False
    """Whether the vectors follow the latents, whatever their scale."""

    def __init__(self, num_codes: int, dim: int) -> None:
        super().__init__()
        if min(num_codes, dim) < 1:
            raise ValueError(f"num_codes and dim must be at least 1, got {num_codes} and {dim}.")
        self.num_codes, self.dim = num_codes, dim

    @abstractmethod
    def forward(self, z: Tensor) -> Quantized:
        """Quantise latents (B, D, *grid)."""

    @abstractmethod
    def lookup(self, codes: Tensor) -> Tensor:
        """Vectors (B, D, *grid) of codes (B, *grid, *code_shape)."""

    def usage(self, codes: Tensor) -> Tensor:
        """Relative frequency of each value of each code of a place, (codes of a place * num_codes,).

        Frequencies can be averaged over batches.
        """
        each = math.prod(self.code_shape)
        rows = codes.reshape(-1, each)
        index = rows + self.num_codes * torch.arange(each, device=codes.device)
        counts = torch.zeros(each * self.num_codes, device=codes.device)
        return counts.scatter_add(0, index.flatten(), torch.ones_like(index, dtype=counts.dtype).flatten()) / len(rows)

    def start(self, z: Tensor) -> None:
        """Initialise the code vectors from latents (N, D, \\*grid), the same ones on every process."""

    def accumulate(self, z: Tensor, codes: Tensor) -> None:
        """Record the latents (B, D, \\*grid) of a training step, and their codes."""

    def update(self) -> None:
        """Update the code vectors from the records of all processes since the last update."""

    def reset_stats(self) -> None:
        """Clear the records since the last update."""


def rows_of(z: Tensor) -> Tensor:
    """Vectors (N, D) of latents (B, D, *grid)."""
    return exact(z.movedim(1, -1).reshape(-1, z.shape[1]))
