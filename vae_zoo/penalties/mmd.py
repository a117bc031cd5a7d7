"""Maximum mean discrepancy between the aggregate posterior and the prior."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.distributions import Distribution

from vae_zoo.penalties.base import Penalty, draws_like
from vae_zoo.typing import Shape

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Factors on the width of the inverse multiquadratic kernel, over which kernels are summed."""


class MMD(Penalty):
    r"""Squared maximum mean discrepancy between the latents z of a batch and draws y from the prior, without bias.

    .. math:: \widehat{\mathrm{MMD}}^2 = \frac{1}{n (n - 1)} \sum_{i \ne j} \big( k(z_i, z_j) + k(y_i, y_j) \big)
        - \frac{2}{n^2} \sum_{i, j} k(z_i, y_j)

    Its mean does not depend on the size of the batch, and may be negative if the two agree. The kernel is
    the sum of inverse multiquadratics :math:`\sum_s C s / (C s + \| a - b \|^2)`, with :math:`C = 2 D \sigma^2`, or a
    Gaussian :math:`e^{-\| a - b \|^2 / 2 h^2}`, with :math:`h^2 = D \sigma^2`, for a prior of D dimensions and variance
    σ². Each process compares its own examples, which does not change the mean.

    References:
        | A Kernel Two-Sample Test (Gretton et al., 2012)
        | https://jmlr.org/papers/v13/gretton12a.html
        | Wasserstein Auto-Encoders (Tolstikhin et al., 2018)
        | https://arxiv.org/abs/1711.01558

    Args:
        shape: Shape of one latent; supplied by the model.
        weight: Weight of the penalty.
        kernel: ``imq`` or ``rbf``.
        bandwidth: Squared width C or h²; by default from the variance of the prior.

    Raises:
        ValueError: If weight is negative, the kernel unknown, or the bandwidth not positive.
    """

    units = {"mmd": "squared discrepancy"}
    min_batch_size = 2

    def __init__(
        self,
        shape: Shape,
        *,
        weight: float = 1.0,
        kernel: Literal["imq", "rbf"] = "imq",
        bandwidth: float | None = None,
    ) -> None:
        super().__init__(shape, weight=weight)
        if kernel not in ("imq", "rbf"):
            raise ValueError(f"kernel must be imq or rbf, got {kernel!r}.")
        if bandwidth is not None and not (bandwidth > 0 and math.isfinite(bandwidth)):
            raise ValueError(f"bandwidth must be positive and finite, got {bandwidth}.")
        self.kernel, self.bandwidth = kernel, bandwidth

    def forward(
        self,
        z: Tensor,
        q: Distribution,  # noqa: ARG002
        p: Distribution,
        c: Tensor | None = None,  # noqa: ARG002
    ) -> tuple[Tensor, dict[str, Tensor]]:
        z, y = z.flatten(1), draws_like(z, p).flatten(1)
        width = self._width(p, z.shape[1])
        within = sum(_mean_of_pairs(self._k(a, a, width)) for a in (z, y))
        return within - 2 * self._k(z, y, width).mean(), {}

    def check(self, q: Distribution, p: Distribution) -> None:  # noqa: ARG002
        try:
            self._width(p, 1)
        except NotImplementedError:
            name = type(p).__name__
            raise ValueError(f"the variance of {name} is unknown: give MMD the bandwidth of its kernel.") from None

    def _width(self, p: Distribution, dim: int) -> Tensor | float:
        if self.bandwidth is not None:
            return self.bandwidth
        variance = p.variance.detach().mean()
        return dim * variance * (2 if self.kernel == "imq" else 1)

    def _k(self, a: Tensor, b: Tensor, width: Tensor | float) -> Tensor:
        squared = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist").square()
        if self.kernel == "rbf":
            return torch.exp(-0.5 * squared / width)
        return torch.stack([width * s / (width * s + squared) for s in SCALES]).sum(0)


def _mean_of_pairs(k: Tensor) -> Tensor:
    """Mean of a kernel matrix (n, n) without its diagonal; the diagonal of a last batch of one example."""
    num = len(k)
    if num == 1:
        return k.sum()
    return (k.sum() - k.diagonal().sum()) / (num * (num - 1))
