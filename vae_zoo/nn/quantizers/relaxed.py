"""Quantizers whose codes are relaxed in training."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gumbel_softmax

from vae_zoo.functional import exact
from vae_zoo.nn.quantizers.base import Quantized, Quantizer, rows_of
from vae_zoo.nn.quantizers.composed import levels_kept, norm_penalty
from vae_zoo.nn.quantizers.gradients import straight
from vae_zoo.nn.schedules import Exponential, Schedule


class RelaxedResidualQuantizer(Quantizer):
    r"""Several codebooks, each for what the previous ones leave of the latent, whose vectors are drawn in training.

    .. math::
        e_q = \sum_k y_{qk} c_{qk}, \quad y_q = \mathrm{softmax} \Big( \frac{l_q + g_q}{\tau} \Big), \quad
        l_{qk} = -\| r_q - c_{qk} \|^2, \quad r_1 = z, \quad r_{q+1} = r_q - e_q

    Here g is Gumbel noise; if ``straight_through``, the value of y is the one-hot vector of its greatest entry. In
    evaluation each level takes its nearest vector, and so do the codes in both modes. What the quantizer adds to the
    objective, ``codebook_loss``, is the weighted divergence of the categories softmax(l) of all levels from uniform
    ones, and the penalty on norms. The vectors are trained by gradient, through the mixtures.

    References:
        | Hierarchical Sketch Induction for Paraphrase Generation (Hosking et al., 2022)
        | https://arxiv.org/abs/2203.03463

    Args:
        num_codes: Number of code vectors K of each level.
        dim: Dimensions of each, D.
        depth: Number of levels Q.
        temperature: Schedule of the temperature τ.
        straight_through: Whether training takes one vector of a level, with the gradient of the mixture, as in the
            authors' code; else the mixture itself.
        kl_weight: Weight of the divergence from uniform codes.
        dropout: Probability that a training example is decoded from a random number of levels, 1 to Q.
        norm_decay: Factor of :func:`~vae_zoo.nn.quantizers.composed.norm_penalty`; 0 for no penalty.

    Raises:
        ValueError: If depth is less than 1, dropout lies outside [0, 1], or a weight is negative or not finite.
        TypeError: If temperature does not make a Schedule.
    """

    adapts = True

    def __init__(
        self,
        num_codes: int,
        dim: int,
        *,
        depth: int = 4,
        temperature: Callable[[], Schedule] = Exponential,
        straight_through: bool = True,
        kl_weight: float = 0.1,
        dropout: float = 0.1,
        norm_decay: float = 1.5,
    ) -> None:
        super().__init__(num_codes, dim)
        if depth < 1 or not 0 <= dropout <= 1:
            raise ValueError(f"depth must be at least 1 and dropout lie in [0, 1], got {depth} and {dropout}.")
        for name, value in (("kl_weight", kl_weight), ("norm_decay", norm_decay)):
            if not (value >= 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be at least 0 and finite, got {value}.")
        self.depth, self.code_shape = depth, (depth,)
        self.kl_weight, self.dropout, self.norm_decay = kl_weight, dropout, norm_decay
        schedule = temperature()
        if not isinstance(schedule, Schedule):
            raise TypeError(f"temperature must make a Schedule, got {type(schedule).__name__}.")
        self.temperature, self.straight_through = schedule, straight_through
        self.vectors = nn.Parameter(torch.empty(depth, num_codes, dim).uniform_(-1 / num_codes, 1 / num_codes))

    def forward(self, z: Tensor) -> Quantized:
        z = exact(z)
        with torch.autocast(z.device.type, enabled=False):
            with torch.set_grad_enabled(torch.is_grad_enabled() and not self.training):
                codes, nats = self._nearest(z)
            e, nats = self._mixtures(z) if self.training else (straight(z, self.lookup(codes)), nats)
        penalty = norm_penalty(exact(self.vectors).unbind(), self.norm_decay) if self.norm_decay else 0.0
        return Quantized(e, codes, self.kl_weight * nats + penalty, torch.zeros_like(nats))

    def lookup(self, codes: Tensor) -> Tensor:
        vectors = exact(self.vectors).unbind()
        picked = [embedding(code, level) for level, code in zip(vectors, codes.unbind(-1), strict=True)]
        return torch.stack(picked).sum(0).movedim(-1, 1)

    @torch.no_grad()
    def start(self, z: Tensor) -> None:
        """Initialise the vectors of each level by some of what the previous ones leave of latents (N, D, \\*grid)."""
        rest = rows_of(z)
        for n, level in enumerate(self.vectors):
            rest = rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(n)).to(rest.device)]
            level.copy_(rest[torch.arange(self.num_codes, device=rest.device) % len(rest)])
            rest = rest - level[_logits(rest, exact(level)).argmax(-1)]

    def _mixtures(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Relaxed vectors (B, D, *grid), and the divergence from uniform codes, (B,)."""
        rest, e, nats = z.movedim(1, -1), torch.zeros_like(z.movedim(1, -1)), z.new_zeros(len(z))
        for vectors, keep in zip(exact(self.vectors).unbind(), levels_kept(self.depth, self.dropout, z), strict=True):
            logits = _logits(rest, vectors)
            picked = gumbel_softmax(logits, self.temperature(), hard=self.straight_through) @ vectors
            rest = rest - picked
            e = e + keep.reshape(-1, *[1] * (z.ndim - 1)) * picked
            nats = nats + keep * _above_uniform(logits)
        return e.movedim(-1, 1), nats

    def _nearest(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (B, *grid, Q) of the nearest vectors, and their divergence from uniform ones, (B,)."""
        rest, codes, nats = z.movedim(1, -1), [], z.new_zeros(len(z))
        for vectors in exact(self.vectors).unbind():
            logits = _logits(rest, vectors)
            codes.append(logits.argmax(-1))
            rest = rest - embedding(codes[-1], vectors)
            nats = nats + _above_uniform(logits)
        return torch.stack(codes, -1), nats


def _logits(rows: Tensor, vectors: Tensor) -> Tensor:
    """Negative squared distances (..., K) of rows (..., D) from vectors (K, D), up to a constant of each row."""
    return 2 * rows @ vectors.T - vectors.square().sum(-1)


def _above_uniform(logits: Tensor) -> Tensor:
    """Divergence of the categories of logits (B, ..., K) from uniform ones, summed over places, (B,)."""
    log_p = torch.log_softmax(logits, -1)
    return (log_p.exp() * (log_p + math.log(logits.shape[-1]))).flatten(1).sum(1)
