"""The normal likelihood with a computed rather than learned σ."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, distributed
from torch.distributions import Distribution, Independent

from vae_zoo.distributions.families import Family, log_of_scale
from vae_zoo.distributions.normal import Normal, independent
from vae_zoo.system.tensors import exact_buffers
from vae_zoo.typing import Shape


class OptimalNormal(Family):
    r"""Independent normal values with a shared optimal σ, computed from the errors rather than learned.

    .. math:: \sigma^2 = \frac{1}{B D} \sum_{b, i} (x_{b i} - \mu_{b i})^2

    In training, with gradients, σ is that of the batch, as in the paper: it depends on the examples that it
    scores, so ``train/elbo`` is not a bound, only close to one. Everywhere else, and therefore in ``val/elbo``,
    ``test/elbo`` and the evidence, σ is an exponential moving average over training batches:
    one fixed density, independent of the evaluated examples. Gradients do not pass through σ, which makes no difference
    in the objective of the VAE, whose derivative by the optimal σ is 0. With several processes, σ is computed over
    the batches of all of them, so the objective is that of one process.

    References:
        | Simple and Effective VAE Training with Calibrated Decoders (Rybkin et al., 2021)
        | https://arxiv.org/abs/2006.13202

    Args:
        shape: Shape of one event.
        scale: Standard deviation σ before training.
        decay: Weight of the past in the moving average of σ²; the first batches have equal weights. Batches that are
            not finite are left out.
        min_log_scale: Lower bound of log σ, for data that are reconstructed exactly.

    Raises:
        ValueError: If scale is not positive and finite, decay does not lie in [0, 1), or min_log_scale is not finite.
    """

    is_for_latents = False
    shares_scale = True

    square: Tensor
    count: Tensor

    def __init__(self, shape: Shape, *, scale: float = 0.5, decay: float = 0.95, min_log_scale: float = -7.0) -> None:
        super().__init__(shape)
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be at least 0 and below 1, got {decay}.")
        if not math.isfinite(min_log_scale):
            raise ValueError(f"min_log_scale must be finite, got {min_log_scale}.")
        self.decay, self.min_log_scale = decay, min_log_scale
        self.register_buffer("square", torch.tensor(math.exp(2 * log_of_scale(scale))))
        self.register_buffer("count", torch.tensor(0))

    def distribution(self, params: Tensor) -> Distribution:
        if self.training and torch.is_grad_enabled():
            return _OptimalNormal(self._normal(params, self.square), len(self.shape), self._track)
        return independent(self._normal(params, self.square), len(self.shape))

    def _normal(self, loc: Tensor, square: Tensor) -> Normal:
        return Normal(loc, (0.5 * square.to(loc.dtype).log()).clamp(min=self.min_log_scale))

    def _track(self, loc: Tensor, value: Tensor, missing: Tensor | None) -> Normal:
        error = (value - loc.detach()).square()
        square = error.mean()
        several = distributed.is_available() and distributed.is_initialized()
        if several or missing is not None:
            total = torch.stack([error.sum(), torch.full_like(square, error.numel())])
            if missing is not None:
                seen = ~missing.expand_as(error)
                total = torch.stack([(error * seen).sum(), seen.sum().to(square.dtype)])
            if several:
                distributed.all_reduce(total)
            square = torch.where(total[1] > 0, total[0] / total[1].clamp(min=1), self.square.to(square.dtype))
        self.count += 1
        rate = self.count.to(self.square.dtype).reciprocal().clamp(min=1 - self.decay)
        tracked = self.square.lerp(square.to(self.square.dtype), rate)
        self.square.copy_(torch.where(tracked.isfinite(), tracked, self.square))  # a step may be skipped and gone on
        return self._normal(loc, square)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> OptimalNormal:
        with exact_buffers(self):  # the mean over batches would stand still
            super()._apply(fn, recurse)
        return self


class _OptimalNormal(Independent):
    """Scores a batch with its optimal σ; everything that does not depend on data uses the tracked σ."""

    def __init__(self, base: Normal, event_dims: int, track: Callable[[Tensor, Tensor, Tensor | None], Normal]) -> None:
        super().__init__(base, event_dims, validate_args=False)
        self._track = track

    def log_prob(self, value: Tensor) -> Tensor:
        return independent(self._track(self.base_dist.loc, value, None), self.reinterpreted_batch_ndims).log_prob(value)

    def log_prob_per_entry(self, value: Tensor, missing: Tensor | None = None) -> Tensor:
        """Log-density of each entry, with the σ that is optimal for those that are not missing."""
        return self._track(self.base_dist.loc, value, missing).log_prob(value)
