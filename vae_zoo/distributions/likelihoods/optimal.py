"""The normal likelihood whose σ is computed rather than learned."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, distributed
from torch.distributions import Distribution, Independent

from vae_zoo.distributions.families import Family, log_of_scale
from vae_zoo.distributions.normal import Normal, independent
from vae_zoo.typing import Shape


class OptimalNormal(Family):
    r"""Independent normal values with the one σ that fits the errors best, computed rather than learned.

    .. math:: \sigma^2 = \frac{1}{B D} \sum_{b, i} (x_{b i} - \mu_{b i})^2

    While gradients are taken in training, σ is that of the batch, as in the paper: it has seen the examples that it
    scores, so ``train/elbo`` is no bound there, only close to one. Everywhere else, and so in ``val/elbo``,
    ``test/elbo`` and the evidence, σ is a number that training has left behind, an exponential mean over batches:
    one fixed density, which looks at no example of the evaluation. The gradient leaves σ out, which changes nothing
    in the objective of the VAE, where the derivative by the optimal σ is 0. With several processes the batch is that of
    all of them together: one σ everywhere, and the objective of one process.

    References:
        | Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021)
        | https://arxiv.org/abs/2006.13202

    Args:
        shape: Shape of one event.
        scale: Standard deviation σ before anything has been trained.
        decay: Weight of the past in the mean of σ² over batches; the first batches are weighted alike. Batches that are
            not finite do not count.
        min_log_scale: Lower bound of log σ, for data that are reconstructed exactly.

    Raises:
        ValueError: If scale is not positive and finite, or decay does not lie in [0, 1).
    """

    is_for_latents = False

    square: Tensor
    count: Tensor

    def __init__(self, shape: Shape, *, scale: float = 0.5, decay: float = 0.95, min_log_scale: float = -7.0) -> None:
        super().__init__(shape)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}.")
        self.decay, self.min_log_scale = decay, min_log_scale
        self.register_buffer("square", torch.tensor(math.exp(2 * log_of_scale(scale))))
        self.register_buffer("count", torch.tensor(0))

    def distribution(self, params: Tensor) -> Distribution:
        if self.training and torch.is_grad_enabled():
            return _OptimalNormal(self._normal(params, self.square), len(self.shape), self._track)
        return independent(self._normal(params, self.square), len(self.shape))

    def _normal(self, loc: Tensor, square: Tensor) -> Normal:
        return Normal(loc, (0.5 * square.to(loc.dtype).log()).clamp(min=self.min_log_scale))

    def _track(self, loc: Tensor, value: Tensor) -> Normal:
        error = (value - loc.detach()).square()
        square = error.mean()
        if distributed.is_available() and distributed.is_initialized():
            total = torch.stack([error.sum(), torch.full_like(square, error.numel())])
            distributed.all_reduce(total)
            square = total[0] / total[1]
        self.count += 1
        rate = self.count.to(self.square.dtype).reciprocal().clamp(min=1 - self.decay)
        tracked = self.square.lerp(square.to(self.square.dtype), rate)
        self.square.copy_(torch.where(tracked.isfinite(), tracked, self.square))  # a step may be skipped and gone on
        return self._normal(loc, square)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OptimalNormal:
        super()._apply(fn, recurse)
        if self.square.dtype in (torch.bfloat16, torch.float16):  # in which the mean over batches would stand still
            self.square = self.square.float()
        return self


class _OptimalNormal(Independent):
    """Scores a batch with the σ that fits it best; whatever does not look at data has the tracked σ."""

    def __init__(self, base: Normal, event_dims: int, track: Callable[[Tensor, Tensor], Normal]) -> None:
        super().__init__(base, event_dims, validate_args=False)
        self._track = track

    def log_prob(self, value: Tensor) -> Tensor:
        return independent(self._track(self.base_dist.loc, value), self.reinterpreted_batch_ndims).log_prob(value)
