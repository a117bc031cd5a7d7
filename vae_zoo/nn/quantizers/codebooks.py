"""Codebooks trained by gradient, by moving averages, or through one matrix."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vae_zoo.nn.quantizers.base import rows_of
from vae_zoo.nn.quantizers.gradients import Gradient
from vae_zoo.nn.quantizers.nearest import VectorQuantizer


class Codebook(VectorQuantizer):
    """A codebook whose vectors are parameters, trained towards the latents by gradient.

    References:
        | Neural Discrete Representation Learning (van den Oord et al., 2017)
        | https://arxiv.org/abs/1711.00937

    Args:
        num_codes: Number of code vectors.
        dim: Dimensions of each, D.
        revive_after: Steps without use after which a code starts again from a random latent; 0 for never.
        gradient: Gradient of the latents: unchanged (``straight``), or turned (``rotation``).
    """

    def init_vectors(self, vectors: Tensor) -> None:
        self.vectors = nn.Parameter(vectors)


class EMACodebook(VectorQuantizer):
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
        gradient: Gradient of the latents: unchanged (``straight``), or turned (``rotation``).

    Raises:
        ValueError: If decay lies outside [0, 1).
    """

    weights: Tensor
    totals: Tensor

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        decay: float = 0.99,
        revive_after: int = 100,
        gradient: Gradient = "straight",
    ) -> None:
        super().__init__(num_codes, dim, revive_after=revive_after, gradient=gradient)
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


class SimVQ(VectorQuantizer):
    r"""A codebook of fixed random vectors and a learned affine map, so that every step moves all code vectors.

    .. math:: e_k = W c_k + b, \quad c_k \sim \mathcal{N}(0, I)

    No code can be left behind by the others, and none is ever reset. The map starts with the mean and the standard
    deviations of the latents of the data; in the paper it starts at random.

    References:
        | Addressing Representation Collapse in Vector Quantized Models with One Linear Layer (Zhu et al., 2024)
        | https://arxiv.org/abs/2411.02038

    Args:
        num_codes: Number of code vectors.
        dim: Dimensions of each, D.
        gradient: Gradient of the latents: unchanged (``straight``), or turned (``rotation``).
    """

    fixed: Tensor

    def __init__(self, num_codes: int, dim: int, *, gradient: Gradient = "straight") -> None:
        super().__init__(num_codes, dim, revive_after=0, gradient=gradient)

    def init_vectors(self, vectors: Tensor) -> None:
        self.register_buffer("fixed", torch.randn_like(vectors))
        self.map = nn.Linear(vectors.shape[1], vectors.shape[1])

    @property
    def vectors(self) -> Tensor:  # type: ignore[override]
        """Code vectors, (num_codes, D)."""
        with torch.autocast(self.fixed.device.type, enabled=False):
            return self.map(self.fixed)

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        rows = rows_of(z)
        self.map.weight.copy_(rows.std(0, correction=0).diag())
        self.map.bias.copy_(rows.mean(0))
