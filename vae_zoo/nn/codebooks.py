"""Codebooks trained by gradient or by moving averages."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vae_zoo.nn.quantizers import Quantizer


class Codebook(Quantizer):
    """A codebook whose vectors are parameters, trained towards the latents by gradient.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        num_codes: Number of code vectors.
        dim: Dimensions of each, D.
        revive_after: Steps without use after which a code starts again from a random latent; 0 for never.
    """

    def init_vectors(self, vectors: Tensor) -> None:
        self.vectors = nn.Parameter(vectors)


class EMACodebook(Quantizer):
    r"""A codebook whose vectors are moving averages of the latents nearest to them.

    .. math::
        N_k \leftarrow \gamma N_k + (1 - \gamma) n_k, \quad
        m_k \leftarrow \gamma m_k + (1 - \gamma) \sum_{i: k_i = k} z_i, \quad e_k = m_k / N_k

    References:
        | Neural Discrete Representation Learning, appendix A.1 (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        num_codes: Number of code vectors.
        dim: Dimensions of each, D.
        decay: Decay γ of the averages, at each step of the optimizer.
        revive_after: Steps without use after which a code starts again from a random latent; 0 for never.

    Raises:
        ValueError: If decay lies outside [0, 1).
    """

    weights: Tensor
    totals: Tensor

    def __init__(self, num_codes: int, dim: int, *, decay: float = 0.99, revive_after: int = 100) -> None:
        super().__init__(num_codes, dim, revive_after=revive_after)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {decay}.")
        self.decay = decay

    def init_vectors(self, vectors: Tensor) -> None:
        self.register_buffer("vectors", vectors)
        self.register_buffer("weights", torch.ones(len(vectors)))
        self.register_buffer("totals", vectors.clone())

    def ema_update(self) -> None:
        decay = torch.where(self.counts.sum() > 0, self.decay, 1.0)
        self.weights.copy_(decay * self.weights + (1 - decay) * self.counts)
        self.totals.copy_(decay * self.totals + (1 - decay) * self.sums)
        used = self.weights > 1e-5  # below, the average is of nothing but rounding
        self.vectors.copy_(torch.where(used[:, None], self.totals / self.weights[:, None], self.vectors))

    def restart(self, which: Tensor, vectors: Tensor) -> None:
        super().restart(which, vectors)
        self.weights.masked_fill_(which, 1.0)
        self.totals.copy_(torch.where(which[:, None], vectors, self.totals))
